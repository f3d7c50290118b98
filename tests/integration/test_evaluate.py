"""nano on a small labeled folder, from the images to the report files; a killed run resumes."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from labelled_images import make_labelled_folder
from ovrcoat.data.catalog import open_dataset
from ovrcoat.evaluation.evaluator import evaluate
from ovrcoat.evaluation.plan import EvaluationSettings
from ovrcoat.evaluation.reports.report import EvaluationReport
from ovrcoat.segmentation.segmenter import Segmenter

PROGRAM = """
import sys
from cyclopts import App
from ovrcoat.cli.evaluate import evaluate
app = App(result_action="return_value")
app.command(evaluate)
sys.exit(app(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def nano() -> Segmenter:
    return Segmenter.load("nano", device="cpu")


@pytest.fixture
def folder(tmp_path: Path, nano: Segmenter) -> Path:
    """A folder whose ground truth is the prediction of nano at γ = 1, at a small size for speed."""
    return make_labelled_folder(tmp_path / "mine", nano.with_settings(short_side=64), images=5, trust=1)


def numbers(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text())
    return {key: value for key, value in document.items() if key not in {"created", "timing"}}


def command(folder: Path, output: Path) -> list[str]:
    options = ["--trust", "0,1", "--short-side", "64", "--device", "cpu", "--quiet"]
    return [
        sys.executable,
        "-c",
        PROGRAM,
        "evaluate",
        "--data",
        str(folder),
        *options,
        "--output",
        str(output),
    ]


def test_folder_and_zip_give_the_same(nano: Segmenter, folder: Path, tmp_path: Path):
    settings = EvaluationSettings(trusts=(0, 1), short_side=64, limit=2)
    archive = shutil.make_archive(str(tmp_path / "zipped" / "mine"), "zip", folder)
    from_folder = evaluate(nano, open_dataset(folder), settings=settings)
    from_zip = evaluate(nano, open_dataset(archive), settings=settings)
    assert from_folder.runs == from_zip.runs
    assert from_folder.data == from_zip.data
    own = from_folder.run(1.0).panoptic
    assert own is not None
    assert own.groups["All"].pq in (1.0, None)  # its own prediction; None if it predicted nothing


def test_a_killed_run_resumes_to_the_same_report(folder: Path, tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(folder, whole), check=True, timeout=300)
    process = subprocess.Popen(command(folder, killed))
    journal = killed / "journal.jsonl"
    for _ in range(3000):
        if journal.is_file() and journal.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.02)
    process.kill()  # no chance to tidy up
    process.wait(timeout=60)
    subprocess.run(command(folder, killed), check=True, timeout=300)
    assert numbers(killed / "report.json") == numbers(whole / "report.json")
    resumed = EvaluationReport.read(killed / "report.json").timing["resumed_images"]
    assert isinstance(resumed, int)
    assert 2 <= resumed <= 5
