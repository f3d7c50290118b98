"""How a run ends: signals, a kill, a second process. The next run continues."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
COUNT = 24


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = random.integers(0, 256, (96, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def start(images: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ovrcoat", "segment", str(images), "--vocabulary", "cat; sky#stuff"]
    return subprocess.Popen(
        [*command, "--output", str(output), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OVRCOAT_CACHE": "none"},
        preexec_fn=default_signals,  # noqa: PLW1509 - the tests start no threads
    )


def default_signals() -> None:
    """Under `nohup` or in the background of a script, a process inherits ignored signals."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def wait_for_images(output: Path, count: int) -> None:
    for _ in range(1200):
        if len(list(output.glob("*.png"))) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} images after a minute")


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def document(output: Path) -> dict:
    return json.loads((output / "panoptic.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_completes_the_document_and_the_next_run_continues(
    images: Path, tmp_path: Path, number: signal.Signals
):
    output = tmp_path / "out"
    process = start(images, output)
    wait_for_images(output, 3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert f"of {COUNT} images are done" in errors
    assert hidden(output) == []
    done = {image["file_name"] for image in document(output)["images"]}
    assert 3 <= len(done) < COUNT
    assert document(output)["interrupted"] is True

    times = {path.name: path.stat().st_mtime_ns for path in output.glob("*.png")}
    second = start(images, output, "--json")
    printed, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert f"resumed: {len(done)} of {COUNT} images are done already" in errors
    assert len(document(output)["images"]) == len({i["id"] for i in document(output)["images"]}) == COUNT
    assert "interrupted" not in document(output)
    assert all((output / name).stat().st_mtime_ns == then for name, then in times.items())
    records = json.loads(printed)["images"]
    assert {Path(record["file"]).name for record in records} == {f"{n:02d}.png" for n in range(COUNT)}
    annotations = {entry["file_name"]: entry["segments_info"] for entry in document(output)["annotations"]}
    assert {Path(r["file"]).name: r["segments"] for r in records} == annotations


@pytest.mark.slow
def test_after_a_kill_nothing_that_was_done_is_lost(images: Path, tmp_path: Path):
    output = tmp_path / "out"
    process = start(images, output)
    wait_for_images(output, 4)
    process.kill()
    process.communicate(timeout=60)
    assert not (output / "panoptic.json").exists()
    (images / "00.png").write_bytes((images / "01.png").read_bytes())  # changed since: done again
    second = start(images, output)
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert "resumed: " in errors
    assert len(document(output)["images"]) == COUNT
    assert sorted(path.stem for path in output.glob("*.png")) == [f"{n:02d}" for n in range(COUNT)]
    assert hidden(output) == []
    with Image.open(output / "00.png") as changed, Image.open(output / "01.png") as same:
        assert np.array_equal(np.asarray(changed), np.asarray(same))


@pytest.mark.slow
def test_two_processes_do_not_share_a_folder(images: Path, tmp_path: Path):
    output = tmp_path / "out"
    first = start(images, output)
    wait_for_images(output, 1)
    second = start(images / "00.png", output)
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"is in use by process {first.pid} on " in errors
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert len(document(output)["images"]) == COUNT
