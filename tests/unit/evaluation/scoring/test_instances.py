"""Mask AP of detections in COCO format."""

import json

import numpy as np
import pytest

from ovrcoat.errors import DatasetError, MissingExtraError
from ovrcoat.evaluation.metrics.average_precision import STATISTICS
from ovrcoat.evaluation.scoring.instances import score_detections, score_instances
from ovrcoat.system.input_files import SizeLimit

pytest.importorskip("pycocotools")
SIZE = (20, 30)


def mask(top: int, left: int, side: int = 8) -> dict:
    """A square, as packed run lengths in text."""
    from pycocotools import mask as codec

    pixels = np.zeros(SIZE, dtype=np.uint8, order="F")
    pixels[top : top + side, left : left + side] = 1
    runs = codec.encode(pixels)
    return {"size": list(SIZE), "counts": runs["counts"].decode()}


def annotation(id: int, image_id: int | str, category_id: int = 1, **more: object) -> dict:
    values = {"id": id, "image_id": image_id, "category_id": category_id, "iscrowd": 0, "area": 64}
    return values | {"bbox": [0, 0, 8, 8], "segmentation": mask(2, 3)} | more


def truth(*annotations: dict, image_ids: tuple = (1, 2)) -> dict:
    return {
        "images": [{"id": id, "width": SIZE[1], "height": SIZE[0]} for id in image_ids],
        "categories": [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}],
        "annotations": list(annotations),
    }


def result(image_id: int | str, category_id: int = 1, score: float = 0.9, **more: object) -> dict:
    values = {"image_id": image_id, "category_id": category_id, "score": score, "segmentation": mask(2, 3)}
    return values | more


def report_of(labels: dict, *results: dict) -> dict:
    return score_detections(labels, results)


def codes(report: dict) -> set[str]:
    return {issue["code"] for issue in report["issues"]}


def test_a_perfect_detection_is_100_and_what_has_no_truth_undefined(capsys):
    report = report_of(truth(annotation(1, 1)), result(1), result(2, 5))
    assert tuple(report["stats"]) == STATISTICS
    assert report["stats"]["AP"] == pytest.approx(100)
    assert report["stats"]["APl"] is None
    assert report["per_class"] == {
        "1": {"name": "cat", "AP": pytest.approx(100), "AP50": pytest.approx(100)},
        "5": {"name": "dog", "AP": None, "AP50": None},
    }
    assert report["n_images"] == 2
    assert capsys.readouterr() == ("", "")


def test_no_detections_are_ap_0_where_there_is_truth():
    report = report_of(truth(annotation(1, 1)))
    assert (report["stats"]["AP"], report["stats"]["AR100"]) == (0, 0)
    assert report["per_class"]["1"]["AP"] == 0
    assert report["per_class"]["5"]["AP"] is None
    assert "results-empty" in codes(report)


def test_annotation_zero_gives_the_references_numbers_and_the_right_ones():
    report = report_of(truth(annotation(0, 1)), result(1))
    assert report["stats"]["AP"] == 0
    assert report["renumbered"]["stats"]["AP"] == pytest.approx(100)
    assert "annotation-id-zero" in codes(report)
    assert "renumbered" not in report_of(truth(annotation(1, 1)), result(1))


def test_image_ids_may_be_text_and_their_kind_changes_nothing():
    numbers = report_of(truth(annotation(1, 1), annotation(2, 2, 5)), result(1), result(2, 5, 0.3))
    text = report_of(
        truth(annotation(1, "a"), annotation(2, "b", 5), image_ids=("a", "b")),
        result("a"),
        result("b", 5, 0.3),
    )
    assert text["stats"] == numbers["stats"]


def test_a_box_does_not_decide_the_size_class():
    found = result(1, segmentation=mask(10, 20))  # a small false positive, which a large box would hide
    labels = truth(annotation(1, 1))
    boxed = report_of(labels, found | {"bbox": [0, 0, 500, 500]}, result(1, score=0.5))
    assert boxed["stats"] == report_of(labels, found, result(1, score=0.5))["stats"]
    assert "result-boxes" in codes(boxed)


def test_polygons_and_plain_run_lengths_are_read():
    square = [[3, 2, 11, 2, 11, 10, 3, 10]]
    # the columns 3..10 one after the other: 8 of 20 pixels each
    runs = {"size": list(SIZE), "counts": [62, 8, *[12, 8] * 7, 390]}
    report = report_of(
        truth(annotation(1, 1, segmentation=square), annotation(2, 2, segmentation=runs)),
        result(1, segmentation=square),
        result(2, segmentation=runs),
    )
    assert report["stats"]["AP"] == pytest.approx(100)


def test_the_input_is_not_modified():
    labels = truth(annotation(0, 1))
    before = json.dumps(labels)
    found = [result(1)]
    assert score_detections(labels, found) == score_detections(labels, found)
    assert json.dumps(labels) == before
    assert found == [result(1)]


@pytest.mark.parametrize(
    ("labels", "found", "message"),
    [
        (truth(annotation(1, 1), image_ids=(1, 1)), result(1), "image id occurs twice"),
        (truth(annotation(1, 1, 99)), result(1), "category that is not listed"),
        (truth(annotation(1, 1)), result(1, 99), "category that the ground truth does not list"),
        (truth(annotation(1, 1)), result(1, score=float("nan")), "score is not a number"),
        (truth(annotation(1, 1)), result("1"), "numbers in one file and text in the other"),
        (
            truth(annotation(1, 1)),
            result(1, segmentation={"size": [3, 3], "counts": [9]}),
            "result's mask has another size",
        ),
    ],
)
def test_errors_are_rejected(labels: dict, found: dict, message: str):
    with pytest.raises(DatasetError, match=message):
        report_of(labels, found)


def test_a_score_is_required():
    unscored = {"image_id": 1, "category_id": 1, "segmentation": mask(2, 3)}
    with pytest.raises(DatasetError, match="lacks its score"):
        score_detections(truth(annotation(1, 1)), [unscored])


def test_files(tmp_path, monkeypatch):
    labels, results = tmp_path / "gt.json", tmp_path / "results.json"
    labels.write_text(json.dumps(truth(annotation(1, 1))))
    with pytest.raises(DatasetError, match=r"cannot read .*results\.json \(No such file.*a list of results"):
        score_instances(labels, results)
    results.write_text(json.dumps([result(1)]))
    assert score_instances(labels, results)["stats"]["AP50"] == pytest.approx(100)
    with pytest.raises(
        DatasetError, match=r"results.json holds a JSON list, expected an object .*\(the ground truth"
    ):
        score_instances(results, labels)
    results.write_text("[" * 100_000)
    with pytest.raises(DatasetError, match=r"is not valid JSON .nested more than 200 levels"):
        score_instances(labels, results)
    monkeypatch.setattr("ovrcoat.evaluation.scoring.instances.RESULTS", SizeLimit(3, "NO_VARIABLE", unit=1))
    with pytest.raises(DatasetError, match="expected at most 3;"):
        score_instances(labels, results)


def test_without_pycocotools_the_message_names_the_install_command(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ovrcoat\[coco\]'"):
        score_detections(truth(annotation(1, 1)), [])
