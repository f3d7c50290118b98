"""The verbs are imported when they are asked for; what the list says of them is what they say themselves."""

import importlib
import subprocess
import sys

import pytest

from ovrcoat.cli import VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_repeats_the_docstring(verb: str):
    function = getattr(importlib.import_module(f"ovrcoat.cli.{verb}"), verb)
    described = function.__doc__.split("Parameters\n")[0].replace("`", "")
    assert described.split() == VERBS[verb].split()
    assert described.strip().count("\n\n") == VERBS[verb].count("\n\n")


def test_the_command_line_imports_no_verb():
    script = (
        "import sys, ovrcoat.cli; "
        "print([name for name in sys.modules if name.startswith('ovrcoat.cli.')], 'pydantic' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = [f"ovrcoat.cli.{name}" for name in ("streams", "terminal", "usage")]
    assert run.stdout == f"{modules} False\n"
