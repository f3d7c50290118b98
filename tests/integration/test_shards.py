"""`ovrcoat evaluate --shard` and `ovrcoat score --merge` on a tiny network."""

import json
from pathlib import Path

import pytest

from labelled_images import make_labelled_folder
from ovrcoat.segmentation.segmenter import Segmenter


@pytest.fixture
def labeled(folder: Path, tiny_model: Segmenter) -> Path:
    make_labelled_folder(folder / "mine", tiny_model, images=5)
    return folder


def test_merged_shards_give_the_report_of_one_run(ovrcoat, labeled: Path):
    common = ("evaluate", "--data", "mine", "--trust", "0,1", "--quiet")
    assert ovrcoat(*common, "--output", "whole").status == 0
    for index in (1, 2, 3):
        outcome = ovrcoat(*common, "--shard", f"{index}/3")
        assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    parts = [labeled / "ovrcoat-evaluation" / "mine" / f"shard-{index}-of-3" for index in (1, 2, 3)]
    outcome = ovrcoat("score", "--merge", *parts, "--json", "merged.json")
    assert outcome.status == 0
    assert "PQ" in outcome.out
    whole, merged = (json.loads(Path(name).read_text()) for name in ("whole/report.json", "merged.json"))
    assert {key for key in whole if whole[key] != merged[key]} <= {"created", "timing"}
    assert ovrcoat("compare", "whole/report.json", "merged.json", "--trust", 1).status == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shard", "4/3"), "expected i/n"),
        (("--shard", "1/3", "--json", "-"), "--json needs all images"),
        (("--shard", "1/3", "--save-predictions", "x"), "--save-predictions needs all images"),
    ],
)
def test_options_that_need_a_whole_run_are_refused(ovrcoat, labeled: Path, options: tuple, message: str):
    outcome = ovrcoat("evaluate", "--data", "mine", *options)
    assert (outcome.status, message in outcome.err) == (2, True)


def test_merge_excludes_other_options(ovrcoat, labeled: Path):
    outcome = ovrcoat("score", "--merge", "a", "--task", "semantic")
    assert (outcome.status, "--merge takes only" in outcome.err) == (2, True)
    outcome = ovrcoat("score", "--merge", "a", "b")
    assert (outcome.status, "cannot read a" in outcome.err) == (2, True)
