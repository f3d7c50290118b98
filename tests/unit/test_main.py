"""The process of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "arguments", [["--version"], ["segment", "no-such-photo.jpg", "--vocabulary", "cat"]]
)
def test_the_module_is_the_command(arguments: list[str], tmp_path: Path):
    run = subprocess.run(
        [sys.executable, "-m", "ovrcoat", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == (0 if arguments == ["--version"] else 1)
    assert ("no-such-photo.jpg" in run.stderr) == (arguments != ["--version"])


def test_leaving_early_loses_no_output(tmp_path: Path):
    """A pipe is flushed by hand before the process ends."""
    run = subprocess.run(
        [sys.executable, "-m", "ovrcoat", "segment", "--help"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0
    assert "--vocabulary" in run.stdout
    assert run.stdout.endswith("\n")
