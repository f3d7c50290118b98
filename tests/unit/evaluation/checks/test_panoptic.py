"""Every known issue of the JSON files is reported with its code, severity and example."""

from collections.abc import Callable
from typing import Any

import pytest

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.panoptic import (
    AREA_NOT_GIVEN,
    ImagePair,
    PanopticAnnotation,
    check_annotations,
    check_categories,
    find_pixel_issues,
    pair_annotations,
)
from ovrcoat.evaluation.checks.panoptic_issues import PANOPTIC_ISSUES
from ovrcoat.evaluation.metrics.panoptic_quality import Overlap
from ovrcoat.formats.annotations import SegmentAnnotation
from ovrcoat.issues import IssueList
from panoptic_pairs import prediction_document, truth_document

Documents = tuple[dict[str, Any], dict[str, Any]]
Break = Callable[[dict[str, Any], dict[str, Any]], object]


def first(document: dict[str, Any]) -> dict[str, Any]:
    return document["annotations"][0]


def segment(document: dict[str, Any]) -> dict[str, Any]:
    return first(document)["segments_info"][0]


def check(truth: dict[str, Any], prediction: dict[str, Any]) -> tuple[IssueList, tuple[ImagePair, ...]]:
    issues = IssueList(PANOPTIC_ISSUES)
    categories = check_categories(truth, issues)
    truths = check_annotations(truth, side="truth", categories=categories, issues=issues)
    predictions = check_annotations(prediction, side="prediction", categories=categories, issues=issues)
    return issues, pair_annotations(truths, predictions, images=truth.get("images"), issues=issues)


def test_valid_files_have_no_issues():
    issues, pairs = check(truth_document(), prediction_document())
    assert len(issues) == 0
    assert [pair.truth.image_id for pair in pairs] == [1, 2]
    assert pairs[0].truth.segments[1] == SegmentAnnotation(70_000, 7, 6)
    assert pairs[0].prediction.segments[0] == SegmentAnnotation(9, 1, AREA_NOT_GIVEN)
    assert pairs[0].listed_size == (4, 3)


BREAKS: list[tuple[str, str, Break]] = [
    ("json-not-panoptic", "no list of categories", lambda t, p: t.pop("categories")),
    ("json-not-panoptic", "the ground truth has no list of annotations", lambda t, p: t.pop("annotations")),
    ("json-not-panoptic", "the prediction has no", lambda t, p: p.update(annotations={})),
    ("no-truth", "the list of the ground truth is empty", lambda t, p: t["annotations"].clear()),
    ("no-predictions", "the list of the prediction is empty", lambda t, p: p["annotations"].clear()),
    ("category-invalid", "entry 0", lambda t, p: t["categories"][0].update(id="1")),
    ("category-invalid", "entry 2: x", lambda t, p: t["categories"].append("x")),
    ("category-twice", "category 7", lambda t, p: t["categories"][0].update(id=7)),
    ("isthing-missing", "category 1: isthing is missing", lambda t, p: t["categories"][0].pop("isthing")),
    ("isthing-missing", "isthing is '1'", lambda t, p: t["categories"][0].update(isthing="1")),
    ("category-name-missing", "category 1", lambda t, p: t["categories"][0].pop("name")),
    ("annotation-invalid", "ground truth, annotation 0", lambda t, p: first(t).pop("segments_info")),
    ("annotation-invalid", "prediction, annotation 0", lambda t, p: first(p).update(image_id=None)),
    ("annotation-invalid", "prediction, annotation 2: 3", lambda t, p: p["annotations"].append(3)),
    ("annotation-invalid", "ground truth, annotation 0", lambda t, p: first(t).update(file_name=7)),
    ("file-outside", "'../1.png'", lambda t, p: first(p).update(file_name="../1.png")),
    ("file-outside", "'/1.png'", lambda t, p: first(p).update(file_name="/1.png")),
    ("file-outside", "C:", lambda t, p: first(p).update(file_name="C:\\1.png")),
    ("truth-image-twice", "ground truth, image 2", lambda t, p: first(t).update(image_id=2)),
    ("prediction-image-twice", "prediction, image 1", lambda t, p: p["annotations"].append(first(p))),
    (
        "file-twice",
        "ground truth, image 2: 1.png",
        lambda t, p: t["annotations"][1].update(file_name="1.png"),
    ),
    ("segment-invalid", "prediction, image 1: {'category_id'", lambda t, p: segment(p).pop("id")),
    ("segment-invalid", "'id': '9'", lambda t, p: segment(p).update(id="9")),
    ("segment-invalid", "prediction, image 1: 4", lambda t, p: first(p)["segments_info"].append(4)),
    ("segment-id-zero", "'id': 0", lambda t, p: segment(p).update(id=0)),
    (
        "segments-too-many",
        "100,001 segments",
        lambda t, p: t["annotations"][0].update(segments_info=[{}] * 100_001),
    ),
    ("segment-id-too-large", "16777216", lambda t, p: segment(p).update(id=1 << 24)),
    ("segment-id-too-large", "-1", lambda t, p: segment(t).update(id=-1)),
    ("segment-id-twice", "prediction, image 1, segment 2", lambda t, p: segment(p).update(id=2)),
    ("category-id-invalid", "segment 9: category_id is '1'", lambda t, p: segment(p).update(category_id="1")),
    ("category-id-invalid", "category_id is missing", lambda t, p: segment(p).pop("category_id")),
    (
        "truth-category-unknown",
        "segment 5: category 8; known: 1, 7",
        lambda t, p: segment(t).update(category_id=8),
    ),
    ("prediction-category-unknown", "category 8; known: 1, 7", lambda t, p: segment(p).update(category_id=8)),
    ("iscrowd-missing", "ground truth, image 1, segment 5", lambda t, p: segment(t).pop("iscrowd")),
    ("iscrowd-invalid", "segment 5: 2", lambda t, p: segment(t).update(iscrowd=2)),
    ("area-missing", "area is missing", lambda t, p: segment(t).pop("area")),
    ("area-missing", "area is 4.5", lambda t, p: segment(t).update(area=4.5)),
    ("area-missing", "area is -3", lambda t, p: segment(t).update(area=-3)),
    ("prediction-missing", "image 2", lambda t, p: p["annotations"].pop()),
    (
        "prediction-extra",
        "image 3",
        lambda t, p: p["annotations"].append(first(p) | {"image_id": 3, "file_name": "3"}),
    ),
    (
        "image-id-type",
        "1 in the ground truth, '1' in the prediction",
        lambda t, p: first(p).update(image_id="1"),
    ),
    ("image-without-annotation", "image 2", lambda t, p: t["annotations"].pop()),
]


@pytest.mark.parametrize(
    ("code", "example", "damage"), BREAKS, ids=[f"{code}-{i}" for i, (code, *_) in enumerate(BREAKS)]
)
def test_each_issue_is_found(code: str, example: str, damage: Break):
    truth, prediction = truth_document(), prediction_document()
    damage(truth, prediction)
    issues, _ = check(truth, prediction)
    [issue] = [issue for issue in issues if issue.code == code]
    assert any(example in text for text in issue.examples), issue.examples
    assert issue.severity == PANOPTIC_ISSUES[code][0]


def test_two_crowds_and_stuff_in_pieces_are_noted():
    truth, prediction = truth_document(), prediction_document()
    for part in first(truth)["segments_info"]:
        part.update(category_id=1, iscrowd=1)
    for part in first(prediction)["segments_info"]:
        part.update(category_id=7)
    issues, _ = check(truth, prediction)
    assert {issue.code: issue.examples for issue in issues} == {
        "crowd-twice": ["ground truth, image 1, category 1: 2 segments"],
        "stuff-in-pieces": ["prediction, image 1, category 7: 2 segments"],
    }


def test_all_issues_are_reported_at_once():
    truth, prediction = truth_document(), prediction_document()
    segment(truth).pop("area")
    segment(truth).update(category_id=8)
    segment(prediction).update(id=0)
    prediction["annotations"].pop()
    issues, _ = check(truth, prediction)
    assert [issue.code for issue in issues] == [
        "truth-category-unknown",
        "area-missing",
        "segment-id-zero",
        "prediction-missing",
    ]


def test_integers_written_as_floats_are_areas():
    truth = truth_document()
    segment(truth)["area"] = 5.0
    issues, pairs = check(truth, prediction_document())
    assert len(issues) == 0
    assert pairs[0].truth.segments[0].area == 5


def test_synonyms_of_our_own_files_are_read():
    issues = IssueList(PANOPTIC_ISSUES)
    document = {"categories": [{"id": 1, "name": "sofa", "synonyms": ["couch", 3], "isthing": True}]}
    [category] = check_categories(document, issues)
    assert category.names == ("sofa", "couch")
    assert category.is_thing
    assert len(issues) == 0


def test_pixels_are_compared_with_entries():
    pair = ImagePair(
        PanopticAnnotation(
            1,
            "t.png",
            (
                SegmentAnnotation(1, 1, 10),
                SegmentAnnotation(2, 1, 5),
                SegmentAnnotation(4, 1, AREA_NOT_GIVEN),
            ),
        ),
        PanopticAnnotation(
            1, "p.png", (SegmentAnnotation(8, 1, AREA_NOT_GIVEN), SegmentAnnotation(9, 1, AREA_NOT_GIVEN))
        ),
    )
    overlap = Overlap({0: 3, 1: 12, 3: 1, 4: 9}, {0: 1, 8: 22, 7: 2}, {})
    assert list(find_pixel_issues(pair, overlap)) == [
        ("truth-segment-without-pixels", "image 1, segment 2 in t.png"),
        ("truth-pixels-without-segment", "image 1, id 3 with 1 pixels in t.png"),
        ("prediction-segment-without-pixels", "image 1, segment 9 in p.png"),
        ("prediction-pixels-without-segment", "image 1, id 7 with 2 pixels in p.png"),
        ("areas-differ", "image 1, segment 1: JSON 10, pixels 12"),
    ]


def test_errors_raise_and_include_the_warnings():
    issues = IssueList(PANOPTIC_ISSUES)
    issues.report("areas-differ", "image 1, segment 1: JSON 10, pixels 12")
    issues.raise_errors("p.json", outcome="cannot be scored")
    issues.report("size-mismatch", "image 2")
    issues.report("size-mismatch", "image 3")
    with pytest.raises(
        DatasetError, match=r"(?s)p.json cannot be scored:\n- .*\(2 ×: image 2; image 3\)\n- warning: "
    ):
        issues.raise_errors("p.json", outcome="cannot be scored")
