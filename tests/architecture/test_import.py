"""Importing does nothing: no torch, no file, no output, no change of the process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import json, os, sys
before = (os.getcwd(), list(sys.path), dict(os.environ))
import {module}
after = (os.getcwd(), list(sys.path), dict(os.environ))
heavy = [name for name in ("torch", "torchvision", "timm", "open_clip", "pycocotools", "supervision", "PIL")
         if name in sys.modules]
print(json.dumps({{"unchanged": before == after, "heavy": heavy}}))
"""


def probe(module: str, folder: Path) -> dict[str, object]:
    """Import `module` in a fresh process in the empty `folder`; what that did."""
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert list(folder.iterdir()) == []
    assert run.stdout.count("\n") == 1, "importing printed something"
    return json.loads(run.stdout)


@pytest.mark.parametrize("module", ["ovrcoat", "ovrcoat.cli", "ovrcoat.vocabulary"])
def test_import_changes_nothing_and_stays_light(module: str, tmp_path: Path):
    assert probe(module, tmp_path) == {"unchanged": True, "heavy": []}


def test_the_segmenter_needs_torch_but_no_library_that_starts_slowly(tmp_path: Path):
    heavy = probe("ovrcoat.segmentation.segmenter", tmp_path)["heavy"]
    assert isinstance(heavy, list)
    assert set(heavy) <= {"torch", "PIL"}
