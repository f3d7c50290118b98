"""The script that ./demo runs; creating the environment is not tested here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ovrcoat.checkpoints.catalog import embedded_path

ROOT = Path(__file__).parents[2]

# tests/architecture/test_files.py fails if the weights are missing, so this skip cannot go unnoticed
pytestmark = pytest.mark.skipif(not embedded_path().is_file(), reason="the embedded weights are missing")


def test_the_demo_segments_real_images_and_credits_them(tmp_path: Path):
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), str(tmp_path)]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    images = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert len(images) >= 4
    credits = (tmp_path / "ATTRIBUTION.txt").read_text()
    assert all(f"{image}: " in credits for image in images)
    for image in images:
        folder = tmp_path / Path(image).stem
        assert (folder / f"{folder.name}.overlay.jpg").is_file()
        (annotation,) = json.loads((folder / "panoptic.json").read_text())["annotations"]
        assert annotation["segments_info"], f"no segment in {image}"
        assert str(folder / f"{folder.name}.overlay.jpg") in outcome.stdout


def test_the_demo_names_a_missing_package(tmp_path: Path):
    script = (
        "import importlib.util, runpy, sys; importlib.util.find_spec = lambda name: None; "
        f"sys.argv = ['demo.py', {str(tmp_path)!r}]; "
        f"runpy.run_path({str(ROOT / 'tools' / 'demo.py')!r}, run_name='__main__')"
    )
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    assert "error: the demo needs the images of skimage. Run: pip install 'ovrcoat[demo]'" in outcome.stderr
