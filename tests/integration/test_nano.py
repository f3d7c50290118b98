"""The command with the embedded model: a process of its own, no download, small enough."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovrcoat.checkpoints.catalog import embedded_path

# tests/architecture/test_files.py fails if the weights are missing, so this skip cannot go unnoticed
pytestmark = pytest.mark.skipif(not embedded_path().is_file(), reason="the embedded weights are missing")

WORDS = (
    "person; cat; dog; car; bus; train; chair; sofa; table; bed; tree#stuff; grass#stuff; sky#stuff; "
    "road#stuff; wall#stuff; floor#stuff; water#stuff; sand#stuff; building; flower"
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A flower before leaves, 640 × 480: scikit-learn's example image, stretched a little."""
    from sklearn.datasets import load_sample_image

    path = tmp_path / "photo.png"
    Image.fromarray(load_sample_image("flower.jpg")).resize((640, 480)).save(path)
    return path


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    offline = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "ovrcoat", *arguments]
    return subprocess.run(command, cwd=folder, env=offline, capture_output=True, text=True, check=False)


def test_segment_from_a_fresh_process(image: Path, tmp_path: Path):
    outcome = run("segment", "photo.png", "--vocabulary", WORDS, "--json", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    (answer,) = json.loads(outcome.stdout)["images"]
    assert (answer["width"], answer["height"]) == (640, 480)
    assert answer["segments"], "nothing was found"
    with Image.open(tmp_path / "ovrcoat-output" / "photo.png") as id_png:
        areas = np.unique(np.asarray(id_png)[..., 0], return_counts=True)
    expected = {segment["id"]: segment["area"] for segment in answer["segments"]}
    assert {int(id): int(area) for id, area in zip(*areas, strict=True) if id} == expected


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux tells a process's own peak")
def test_memory_stays_small(image: Path, tmp_path: Path):
    script = (
        "import sys; from ovrcoat.cli import main; "
        f"main(['segment', {str(image)!r}, '--vocabulary', {WORDS!r}, '--quiet', '--output', 'out']); "
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert int(outcome.stdout) * 1024 < 1.2e9


def test_the_answer_is_the_same_every_time(image: Path, tmp_path: Path):
    first, second = (
        run("segment", "photo.png", "--vocabulary", WORDS, "--json", folder=tmp_path) for _ in range(2)
    )
    assert json.loads(first.stdout)["images"] == json.loads(second.stdout)["images"]


def test_nano_needs_none_of_the_slow_libraries(image: Path, tmp_path: Path):
    script = (
        "import sys; from ovrcoat.cli import main; "
        f"main(['segment', {str(image)!r}, '--vocabulary', 'cat; sky', '--quiet', '--output', 'out']); "
        "slow = {'torchvision', 'timm', 'open_clip', 'transformers'}; print(sorted(slow & set(sys.modules)))"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (outcome.returncode, outcome.stdout) == (0, "[]\n"), outcome.stderr


def test_doctor_finds_the_embedded_model_sound(tmp_path: Path):
    outcome = run("doctor", "--json", folder=tmp_path)
    (nano,) = [line for line in json.loads(outcome.stdout) if line["subject"] == "model nano"]
    assert nano["status"] == "ok", nano
