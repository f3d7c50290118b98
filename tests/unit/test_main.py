"""The entry of the command: torch's libraries are fetched early, and nothing depends on it."""

import subprocess
import sys

import pytest

from ovrcoat.__main__ import fetch_torch_libraries


@pytest.mark.skipif(sys.platform != "linux", reason="only tried on Linux")
def test_torch_finds_its_libraries_already_there():
    code = (
        "from ovrcoat.__main__ import fetch_torch_libraries as fetch; import sys; assert fetch(); "
        "assert 'torch' not in sys.modules; import torch; print(int(torch.ones(3).sum()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "3\n"


def test_a_missing_library_is_no_error():
    assert not fetch_torch_libraries(["no-such-library.so"])


@pytest.mark.parametrize("arguments", [["--version"], ["segment", "no-such-photo.jpg", "-v", "cat"]])
def test_the_module_is_the_command(arguments: list[str]):
    run = subprocess.run(
        [sys.executable, "-m", "ovrcoat", *arguments], capture_output=True, text=True, check=False
    )
    assert run.returncode == (0 if arguments == ["--version"] else 1)
    assert ("no-such-photo.jpg" in run.stderr) == (arguments != ["--version"])
