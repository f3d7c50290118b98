"""mIoU and mask AP against recorded numbers of the published evaluation code."""

import json
from pathlib import Path

import pytest

from ovrcoat.errors import DatasetError

SHARED = Path(__file__).parents[3] / "shared" / "fixtures" / "evaluation"  # next to a checkout
MEANS = ("mIoU", "fwIoU", "mACC", "pACC")


def cases(folder: str) -> list[Path]:
    return sorted(path.parent for path in (SHARED / folder).glob("*/expected.json"))


def expected_of(case: Path) -> dict:
    return json.loads((case / "expected.json").read_text(encoding="utf-8"))


def equal(value: float | None, recorded: float | None) -> bool:
    """Within 1e-9, or both undefined."""
    return value is recorded if None in (value, recorded) else abs(value - recorded) <= 1e-9


def semantic(case: Path) -> dict:
    from ovrcoat.evaluation.scoring.semantic import score_semantic

    expected = expected_of(case)
    return score_semantic(
        case / "gt",
        case / "pred",
        category_names=expected["class_names"],
        ignore_label=expected["ignore_label"],
    )


def test_the_recorded_cases_are_complete(shared_fixtures: Path):
    assert (shared_fixtures / "evaluation").is_dir()
    assert len(cases("miou_A")) == 10
    assert len(cases("ap_A")) == 7


@pytest.mark.parametrize("case", cases("miou_A"), ids=lambda case: case.name)
def test_mean_iou(case: Path):
    expected = expected_of(case)
    if case.name.startswith("gt_label_out_of_range"):
        with pytest.raises(
            DatasetError,
            match=r"neither the index of a category .*0001: value \d+ in \d+ pixels, expected 0 to 3",
        ):
            semantic(case)
        return
    ours = semantic(case)
    if case.name == "prediction_equal_num_classes":  # the reference stops
        assert [issue["code"] for issue in ours["issues"]] == ["predicted-label-out-of-range"]
        assert ours["mIoU"] < 100
        return
    assert {name: ours[name] for name in MEANS if not equal(ours[name], expected["expected"][name])} == {}
    for key in ("iou", "acc"):
        assert len(ours[key]) == len(expected[key])
        assert all(map(equal, ours[key], expected[key]))


@pytest.mark.parametrize("case", cases("ap_A"), ids=lambda case: case.name)
def test_average_precision(case: Path):
    pytest.importorskip("pycocotools")
    from ovrcoat.evaluation.scoring.instances import score_instances

    expected = expected_of(case)
    ours = score_instances(case / "gt.json", case / "pred.json")
    if case.name == "no_detections":  # the reference stops
        assert ours["stats"]["AP"] == 0
        assert "results-empty" in [issue["code"] for issue in ours["issues"]]
        return
    if case.name == "annotation_id_zero":  # a bug of the reference; `renumbered` holds the correct values
        assert equal(ours["renumbered"]["stats"]["AP"], 100.0)
    assert ours["stats"].keys() == expected["stats"].keys()
    differing = [name for name, value in ours["stats"].items() if not equal(value, expected["stats"][name])]
    assert differing == []
    assert ours["per_class"].keys() == expected["per_class"].keys()
    for category_id, category in expected["per_class"].items():
        found = ours["per_class"][category_id]
        assert found["name"] == category["name"]
        assert all(equal(found[key], category[key]) for key in ("AP", "AP50"))
