"""The released code's recorded numbers, through the tool that users of other recordings run too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "parity.py"


def run_tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_both_families_match(shared_fixtures):
    done = run_tool(shared_fixtures / "A")
    *lines, summary = done.stdout.splitlines()
    wrong = [line for line in lines if " FAILED" in line or "unknown array" in line]
    assert (done.returncode, wrong) == (0, []), done.stderr
    for family in ("convnext", "resnet"):
        compared = [line for line in lines if line.startswith(family) and line.split("  ok")[0] != line]
        assert len(compared) > 80
    assert "not yet checked" not in summary


def test_usage():
    done = run_tool("--help")
    assert done.returncode == 0
    assert "One line is printed per recorded array" in done.stdout
    assert run_tool().returncode == 2


def test_a_folder_without_recordings(tmp_path):
    done = run_tool(tmp_path)
    assert done.returncode == 1
    assert "holds no convnext/config.json or resnet/config.json" in done.stderr
