"""Standard streams that are closed, full or without a reader: the work is done, and the status tells."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full and a POSIX shell")
SEGMENT = "segment photo.png --vocabulary 'cat; sky#stuff' --output out"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell command in which `ovrcoat` is this package; its own status is written to `status`."""
    ovrcoat = f"{sys.executable} -m ovrcoat"
    return subprocess.run(
        ["bash", "-c", command.replace("ovrcoat ", f"{ovrcoat} ")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OVRCOAT_CACHE": "none"},
        timeout=120,
    )


def is_done(folder: Path) -> bool:
    return (folder / "out" / "panoptic.json").is_file() and (folder / "out" / "photo.png").is_file()


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_ignored(folder: Path, redirection: str):
    run = shell(f"ovrcoat {SEGMENT} {redirection}", folder)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert is_done(folder)


@pytest.mark.parametrize("options", ["", "--json", "--quiet --json"])
def test_a_full_stdout_is_reported_in_one_line(folder: Path, options: str):
    run = shell(f"ovrcoat {SEGMENT} {options} > /dev/full", folder)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == "error: cannot write to stdout: No space left on device"
    assert run.stderr.count("error") == 1
    assert is_done(folder)


@pytest.mark.parametrize("verb", ["models", "vocabularies lvis", "segment --help", "--help"])
def test_every_verb_says_so(folder: Path, verb: str):
    run = shell(f"ovrcoat {verb} > /dev/full", folder)
    assert (run.returncode, run.stderr) == (1, "error: cannot write to stdout: No space left on device\n")


@pytest.mark.parametrize("verb", [SEGMENT, "models", "vocabularies lvis"])
def test_a_reader_that_is_gone_is_no_error_message(folder: Path, verb: str):
    run = shell(f"( ovrcoat {verb}; echo $? > status ) | true", folder)
    assert "Traceback" not in run.stderr
    assert "error" not in run.stderr
    assert int((folder / "status").read_text()) in (0, 1)  # whether the reader was gone before the output
    assert not verb.startswith("segment") or is_done(folder)


def test_a_full_stderr_does_not_stop_the_work(folder: Path):
    run = shell(f"ovrcoat {SEGMENT} 2> /dev/full", folder)
    assert run.returncode == 0
    assert "photo.png: 64 × 48 pixels" in run.stdout
    assert is_done(folder)
