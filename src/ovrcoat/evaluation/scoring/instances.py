"""Scores instance detections in COCO format: checks them first, then computes mask AP."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ovrcoat.evaluation.checks.instances import check_instances
from ovrcoat.evaluation.metrics.average_precision import average_precision
from ovrcoat.formats.json_files import read_json_list, read_json_object
from ovrcoat.system.input_files import RESULTS
from ovrcoat.system.optional_imports import import_optional

_TRUTH = "an object with images, annotations and categories (the ground truth in COCO's instances format)"
_RESULTS = "a list of results (the predictions in COCO's results format)"
Json = dict[str, Any]


def score_instances(truth_json: Path, prediction_json: Path) -> Json:
    """Score a file in COCO's results format against a file in COCO's instances format.

    Returns:
        See `score_detections`.

    Raises:
        DatasetError: A file cannot be read, or the data have errors; the message lists all of them.
        MissingExtraError: pycocotools is not installed.
    """
    truth = read_json_object(truth_json, expected=_TRUTH, limit=RESULTS)
    results = read_json_list(prediction_json, expected=_RESULTS, limit=RESULTS)
    return score_detections(truth, results)


def score_detections(truth: Json, results: Sequence[Any]) -> Json:
    """Score detections in memory; neither argument is modified.

    Args:
        truth: Ground truth in COCO's instances format.
        results: Detections in COCO's results format: image_id, category_id, segmentation and score.

    Returns:
        The dictionary of `average_precision`, plus `n_images` and `issues`. If an annotation has the id 0,
        `stats` contains the values of pycocotools, which treats a match with it as no match, and `renumbered`
        contains the correct values.

    Raises:
        DatasetError: The data have errors that would make the numbers meaningless; the message lists all of
            them.
        MissingExtraError: pycocotools is not installed.
    """
    import_optional("pycocotools.cocoeval", extra="coco")  # fail before the checks
    results = list(results)
    issues = check_instances(truth, results)
    issues.raise_errors("the instances")
    report = average_precision(truth, results)
    if "annotation-id-zero" in issues:
        report["renumbered"] = average_precision(truth, results, renumber_annotations=True)
    return report | {
        "n_images": len(truth["images"]),
        "issues": [issue.to_dict() for issue in issues],
    }
