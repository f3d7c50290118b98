"""Invalid files with known issues: each is reported; the miniature real datasets have only known issues."""

import json
from pathlib import Path

import pytest
from cyclopts import App

from ovrcoat.cli.check_data import check_data
from ovrcoat.evaluation.checks.dataset import check_dataset
from ovrcoat.evaluation.checks.instances import check_instances

# case → a code that must be reported; the ones in `NOT_ERRORS` are warnings or notes, all others errors
PANOPTIC = {
    "01_pred_json_segment_absent_in_png": "prediction-segment-without-pixels",
    "02_pred_png_id_absent_in_json": "prediction-pixels-without-segment",
    "03_pred_unknown_category": "prediction-category-unknown",
    "04_gt_unknown_category": "truth-category-unknown",
    "05_gt_area_doubled": "areas-differ",
    "06_gt_area_third": "area-impossible",
    "07_gt_area_missing": "area-missing",
    "08_size_mismatch": "size-mismatch",
    "09_size_mismatch_one_row": "size-mismatch",
    "10_size_transposed": "size-mismatch",
    "11_missing_prediction": "prediction-missing",
    "12_image_id_type_differs": "image-id-type",
    "13_duplicate_prediction": "prediction-image-twice",
    "14_duplicate_ground_truth": "truth-image-twice",
    "15_pred_png_greyscale": "png-not-rgb",
    "16_pred_png_palette": "png-not-rgb",
    "17_pred_png_rgba": "png-with-alpha",
    "18_pred_png_missing": "png-missing",
    "19_pred_png_truncated": "png-damaged",
    "20_pred_duplicate_segment_id": "segment-id-twice",
    "21_pred_segment_id_zero": "segment-id-zero",
    "22_pred_id_beyond_24_bits": "segment-id-too-large",
    "23_gt_iscrowd_missing": "iscrowd-missing",
    "24_gt_isthing_missing": "isthing-missing",
    "25_gt_json_segment_absent_in_png": "truth-segment-without-pixels",
    "26_gt_png_id_absent_in_json": "truth-pixels-without-segment",
    "27_no_predictions_at_all": "no-predictions",
    "28_no_ground_truth_at_all": "no-truth",
    "29_category_id_as_text": "category-id-invalid",
    "30_pred_json_truncated": "json-unreadable",
}
NOT_ERRORS = {  # warnings and notes: the score still means something
    *("05_gt_area_doubled", "07_gt_area_missing", "17_pred_png_rgba", "23_gt_iscrowd_missing"),
    *("25_gt_json_segment_absent_in_png", "26_gt_png_id_absent_in_json"),
}
INSTANCES: dict[str, set[str]] = {
    "ade_like_string_ids_score_ties": {"image-id-text", "result-twice"},
    "annotation_id_zero": {"annotation-id-zero"},
    "class_without_gt_is_left_out": set(),
    "more_than_100_detections": {"more-than-100-detections"},
    "no_detections": {"results-empty"},
    "real_coco_10": {"result-twice"},
    "thresholds_of_iou": set(),
}
# name, folder below mini/, split → codes
DATASETS = {
    ("coco", "", "val"): {"image-without-labels"},  # two of its images have COCO-Stuff labels only
    ("ade20k", "ade20k", "val"): {"areas-differ", "areas-cost"},
    ("cityscapes", "", "train"): set(),
    ("cityscapes", "", "val"): set(),
    ("mapillary", "mapillary", "train"): set(),
    ("mapillary", "mapillary", "val"): set(),
}


def run(*arguments: object) -> int:
    app = App(result_action="return_value", exit_on_error=False, print_error=False)
    app.command(check_data)
    return app(["check-data", *map(str, arguments)])


def check_case(case: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """The exit status, and the severity of each reported code."""
    truth = ("--truth", case / "gt.json", "--truth-dir", case / "gt")
    prediction = ("--prediction", case / "pred.json", "--prediction-dir", case / "pred")
    status = run(*truth, *prediction, "--json", "-")
    (check,) = json.loads(capsys.readouterr().out)["checks"]
    return status, {issue["code"]: issue["severity"] for issue in check["issues"]}


def test_every_case_is_known(shared_fixtures: Path) -> None:
    folder = shared_fixtures / "evaluation/pq_A/invalid"
    cases = {path.name for path in folder.iterdir() if path.is_dir()}
    assert cases == {"00_valid_base", *PANOPTIC}
    assert {path.name for path in (shared_fixtures / "evaluation/ap_A").iterdir() if path.is_dir()} == set(
        INSTANCES
    )


@pytest.mark.parametrize("case", PANOPTIC)
def test_issue_is_reported(case: str, shared_fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, severities = check_case(shared_fixtures / "evaluation/pq_A/invalid" / case, capsys)
    assert PANOPTIC[case] in severities
    assert (severities[PANOPTIC[case]] == "error") is (case not in NOT_ERRORS)
    assert status == int("error" in severities.values())


def test_the_valid_base_has_no_issues(shared_fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_case(shared_fixtures / "evaluation/pq_A/invalid/00_valid_base", capsys) == (0, {})


@pytest.mark.parametrize("case", INSTANCES)
def test_instances_have_the_known_issues_only(case: str, shared_fixtures: Path) -> None:
    folder = shared_fixtures / "evaluation/ap_A" / case
    truth, results = (json.loads((folder / name).read_text()) for name in ("gt.json", "pred.json"))
    issues = check_instances(truth, results)
    assert {issue.code for issue in issues} == INSTANCES[case]
    assert issues.with_severity("error") == ()


@pytest.mark.parametrize(("name", "root", "split"), DATASETS)
def test_a_real_dataset_has_the_known_issues_only(
    name: str, root: str, split: str, shared_fixtures: Path
) -> None:
    found = check_dataset(name, root=shared_fixtures / "mini" / root, split=split)
    assert {issue.code for issue in found.issues} == DATASETS[name, root, split]
    assert found.image_count > 0


def test_the_effect_of_published_areas_is_reported(shared_fixtures: Path) -> None:
    issues = check_dataset("ade20k", root=shared_fixtures / "mini/ade20k").issues
    (cost,) = issues.with_severity("note")
    assert cost.examples == [
        "PQ of the ground truth against itself is 99.92"
    ]  # equals the public code's result
