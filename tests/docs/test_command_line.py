"""docs/command-line.md tells of every verb and every option, and of no other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
VERBS = [
    "segment",
    "evaluate",
    "score",
    "compare",
    "check-data",
    "prepare",
    "train",
    "models",
    "vocabularies",
    "convert",
    "doctor",
]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def help_of(*verb: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "ovrcoat", *verb, "--help"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout


def section(verb: str) -> str:
    """The page's section on `verb`."""
    return re.split(r"^## ", PAGE.split(f"## `ovrcoat {verb}", 1)[1], maxsplit=1, flags=re.M)[0]


def test_the_verbs_are_these():
    listed = re.findall(r"^│ ([a-z][a-z-]+) ", help_of(), flags=re.M)
    assert sorted(listed) == sorted(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_page_and_help_name_the_same_options(verb: str):
    everywhere = {"--help", "--version", "--debug"}
    offered = set(OPTION.findall(help_of(verb))) - everywhere
    told = set(OPTION.findall(section(verb))) - everywhere
    assert told == offered


def test_help_needs_no_torch():
    script = (
        "import sys; from ovrcoat.cli import main; "
        "main(['segment', '--help']); sys.exit('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "--vocabulary" in run.stdout
