"""docs/command-line.md describes every command and every option, and no other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
COMMANDS = [
    "segment",
    "explain",
    "serve",
    "batch",
    "evaluate",
    "score",
    "compare",
    "check-data",
    "prepare",
    "train",
    "models",
    "vocabularies",
    "convert",
    "package",
    "doctor",
]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def help_of(*command: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "ovrcoat", *command, "--help"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def section(command: str) -> str:
    """The page's section on `command`."""
    return re.split(r"^## ", PAGE.split(f"## `ovrcoat {command}", 1)[1], maxsplit=1, flags=re.M)[0]


def test_the_commands_are_these():
    listed = re.findall(r"^│ ([a-z][a-z-]+) ", help_of(), flags=re.M)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_page_and_help_name_the_same_options(command: str):
    everywhere = {"--help", "--version", "--debug"}
    offered = set(OPTION.findall(help_of(command))) - everywhere
    described = set(OPTION.findall(section(command))) - everywhere
    assert described == offered


def test_help_needs_no_torch():
    script = (
        "import sys; from ovrcoat.cli import main; "
        "main(['segment', '--help']); sys.exit('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "--vocabulary" in run.stdout
