"""Panoptic quality against recorded numbers of COCO's public evaluation code, and against a library."""

import json
from pathlib import Path
from typing import Any

import pytest

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.scoring.panoptic import score_panoptic
from ovrcoat.formats.panoptic_json import PanopticSource

SHARED = Path(__file__).parents[3] / "shared" / "fixtures" / "evaluation" / "pq_A"  # next to a checkout
CASES = sorted(path for path in SHARED.glob("*/expected*.json") if path.parent.name != "invalid")

# invalid input → error message; REPORTED: suspicious input → issue
REJECTED = {
    "01_pred_json_segment_absent_in_png": r"image 2, segment 99 in 000002\.png",
    "02_pred_png_id_absent_in_json": r"does not list.*image 2, id 3 with \d+ pixels",
    "03_pred_unknown_category": r"image 1, segment 1: category 77; known: 1, 2, 11, 12",
    "04_gt_unknown_category": r"not in the list of categories, so it .*image 3, segment 1: category 88",
    "06_gt_area_third": r"an IoU would exceed 1.*\(3 ×: .*warning: the area of a ground-truth segment",
    "08_size_mismatch": r"image 2: ground truth 46 × 32, prediction 43 × 32 pixels",
    "09_size_mismatch_one_row": r"image 2: ground truth 44 × 34, prediction 44 × 1 pixels",
    "10_size_transposed": r"image 1: ground truth 47 × 36, prediction 36 × 47 pixels \(width and height look",
    "11_missing_prediction": r"has no prediction.*\(1 ×: image 2\)",
    "12_image_id_type_differs": r"text in one file and numbers.*1 in the ground truth, '1' in the prediction",
    "13_duplicate_prediction": r"two predictions.*image 1\)",
    "14_duplicate_ground_truth": r"two annotations in the ground truth.*image 1\)",
    "15_pred_png_greyscale": r"8-bit RGB, .*R \+ 256 G \+ 65536 B.*000002\.png: 8-bit grayscale\)",
    "16_pred_png_palette": r"000002\.png: 8-bit palette\)",
    "18_pred_png_missing": r"PNG file is missing.*image 2, prediction: .*000002\.png: not found",
    "19_pred_png_truncated": r"damaged, truncated.*image 2, prediction: .*000002\.png",
    "20_pred_duplicate_segment_id": r"occurs twice.*image 2, segment 3\)",
    "21_pred_segment_id_zero": r"id 0, which means void.*image 2",
    "22_pred_id_beyond_24_bits": r"24 bits.*image 2: .*16777219",
    "24_gt_isthing_missing": r"lacks isthing.*category 1",
    "27_no_predictions_at_all": r"prediction has no annotations at all",
    "28_no_ground_truth_at_all": r"ground truth has no annotations",
    "29_category_id_as_text": r"category_id is '12'",
    "30_pred_json_truncated": r"pred\.json is not valid JSON \(.*line 1 column 511",
}
REPORTED = {
    "05_gt_area_doubled": ("areas-differ", "JSON 1320, pixels 660"),
    "07_gt_area_missing": ("area-missing", "image 1, segment 1"),
    "17_pred_png_rgba": ("png-with-alpha", "000002.png"),
    "23_gt_iscrowd_missing": ("iscrowd-missing", "image 1, segment 1"),
    "25_gt_json_segment_absent_in_png": ("truth-segment-without-pixels", "image 2, segment 500"),
    "26_gt_png_id_absent_in_json": ("truth-pixels-without-segment", "image 2, id 3 with"),
}


def sources(case: Path) -> tuple[PanopticSource, PanopticSource]:
    return (
        PanopticSource(case / "gt.json", case / "gt"),
        PanopticSource(case / "pred.json", case / "pred"),
    )


def assert_equal(ours: Any, recorded: Any, where: str = "") -> None:
    """Counts exactly, fractions within 1e-9."""
    if isinstance(recorded, dict):
        assert ours.keys() == recorded.keys(), where
        for key, value in recorded.items():
            assert_equal(ours[key], value, f"{where}/{key}")
    elif isinstance(recorded, float):
        assert abs(ours - recorded) <= 1e-9, where
    else:
        assert ours == recorded, where


def test_the_recorded_cases_are_complete(shared_fixtures: Path):
    assert (shared_fixtures / "evaluation").is_dir()
    assert len(CASES) == 24 + 1
    faulty = {path.name for path in (SHARED / "invalid").iterdir() if path.is_dir()}
    assert faulty == {"00_valid_base", *REJECTED, *REPORTED}


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_number_equals_the_recorded_one(path: Path):
    recorded = json.loads(path.read_text(encoding="utf-8"))
    areas = "png" if path.stem == "expected_png_area" else "json"
    ours = score_panoptic(*sources(path.parent), seen=recorded["seen_category_ids"], areas=areas)
    for key in ("unit", "groups", "per_class", "not_counted", "n_images"):
        assert_equal(ours[key], recorded[key], key)


@pytest.mark.parametrize("name", REJECTED)
def test_invalid_input_is_rejected_with_a_specific_message(name: str, shared_fixtures: Path):
    with pytest.raises(DatasetError, match=f"(?s){REJECTED[name]}"):
        score_panoptic(*sources(SHARED / "invalid" / name))


@pytest.mark.parametrize("name", REPORTED)
def test_suspicious_input_gives_numbers_and_an_issue(name: str, shared_fixtures: Path):
    figures = score_panoptic(*sources(SHARED / "invalid" / name))
    code, example = REPORTED[name]
    [issue] = [issue for issue in figures["issues"] if issue["code"] == code]
    assert example in issue["examples"][0]
    assert 0 <= figures["groups"]["All"]["pq"] <= 1


def test_the_base_of_the_invalid_cases_is_valid(shared_fixtures: Path):
    figures = score_panoptic(*sources(SHARED / "invalid" / "00_valid_base"))
    assert figures["issues"] == []
    assert figures["groups"]["All"]["pq"] == pytest.approx(0.9052407132529784, abs=1e-9)


@pytest.mark.parametrize("case", sorted({path.parent for path in CASES}), ids=lambda case: case.name)
def test_an_independent_library_agrees(case: Path):
    panoptic = pytest.importorskip("hotcoco.panoptic")
    truth, prediction = sources(case)
    if isinstance(json.loads(truth.json.read_text())["annotations"][0]["image_id"], str):
        pytest.skip("hotcoco does not read image ids that are text")
    evaluation = panoptic.PanopticEval(
        truth.json, prediction.json, gt_folder=truth.folder, pred_folder=prediction.folder
    )
    evaluation.evaluate()
    theirs, ours = evaluation.results(), score_panoptic(truth, prediction)
    for group in ("All", "Things", "Stuff"):
        figures = ours["groups"][group]
        for name in ("pq", "sq", "rq"):
            value = -1 if figures[name] is None else figures[name]  # theirs for an empty group
            assert theirs[group][name] == pytest.approx(value, abs=1e-9)
