"""Mask AP as COCO's own code (pycocotools) computes it, behind checks of what it takes silently.

Before it sees the files, images and annotations are numbered anew: it knows only some text ids, and takes a
match with annotation 0 for none. Boxes are left out, so that a detection's size class comes from its mask.
"""

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.instances import check_instances
from ovrcoat.system.optional_imports import import_optional

MAX_BYTES = 2 * 2**30  # results of COCO's 5,000 images, 100 masks each, take about 200 MB
STATISTICS = (  # COCOeval.stats in its order: AP over IoU 0.50:0.05:0.95, by IoU, by size; recall likewise
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
Json = dict[str, Any]


class InstanceAp:
    """Gathers detections image by image; `truth` is in COCO's instances format, of the images evaluated.

    Raises:
        MissingExtraError: pycocotools is not installed: better known before the work than after it.
    """

    def __init__(self, truth: Json) -> None:
        import_optional("pycocotools.cocoeval", extra="coco")
        self._truth = truth
        self._detections: list[Json] = []

    def add(self, image_id: int | str, detections: Sequence[Json]) -> None:
        """Take one image's detections in COCO's results form: category_id, segmentation, score."""
        self._detections += [{**detection, "image_id": image_id} for detection in detections]

    def report(self) -> Json:
        """What `score_instances` gives.

        Raises:
            DatasetError: see there.
        """
        return _score(self._truth, self._detections)


def score_instances(truth_json: Path, prediction_json: Path) -> Json:
    """Score a file of COCO results against one of COCO instances.

    The result has `stats` (the twelve statistics) and `per_class` (AP, AP50 by category id as text), in
    percent, None where nothing is defined; and `issues`. If an annotation has the id 0, these are the
    reference's numbers, which take a match with it for none, and `renumbered` holds both as they should be.

    Raises:
        DatasetError: a file cannot be read, or a fault would make the numbers meaningless; all at once.
        MissingExtraError: pycocotools is not installed.
    """
    truth, results = _read_json(truth_json, is_list=False), _read_json(prediction_json, is_list=True)
    return _score(truth, results)


def _score(truth: Json, results: list[Any]) -> Json:
    issues = check_instances(truth, results)
    issues.raise_errors("the instances")
    report = _evaluate(truth, results, renumber_annotations=False)
    if "annotation-id-zero" in issues:
        report["renumbered"] = _evaluate(truth, results, renumber_annotations=True)
    return report | {
        "n_images": len(truth["images"]),
        "issues": [issue.to_dict() for issue in issues],
    }


def _evaluate(truth: Json, results: Sequence[Json], *, renumber_annotations: bool) -> Json:
    """Run COCOeval on checked data."""
    evaluation = import_optional("pycocotools.cocoeval", extra="coco")
    images = sorted(truth["images"], key=lambda image: (isinstance(image["id"], str), image["id"]))
    number_of = {image["id"]: number for number, image in enumerate(images, start=1)}
    size_of = {image["id"]: (image["height"], image["width"]) for image in images}
    head = {
        "images": [{**image, "id": number_of[image["id"]]} for image in images],
        "categories": truth["categories"],
    }
    annotations = [
        {
            **annotation,
            "id": number if renumber_annotations else annotation["id"],
            "image_id": number_of[annotation["image_id"]],
        }
        for number, annotation in enumerate(truth["annotations"], start=1)
    ]
    detections = [
        _detection(result, size_of[result["image_id"]])
        | {"id": number, "image_id": number_of[result["image_id"]]}
        for number, result in enumerate(results, start=1)
    ]
    with redirect_stdout(io.StringIO()):  # it has no quiet mode
        evaluator = evaluation.COCOeval(
            _index(head | {"annotations": annotations}), _index(head | {"annotations": detections}), "segm"
        )
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return _numbers(evaluator, {category["id"]: category.get("name", "") for category in truth["categories"]})


def _index(dataset: Json) -> Any:
    """A COCO object around data in memory; its own `loadRes` stops at an empty list."""
    coco = import_optional("pycocotools.coco", extra="coco").COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _detection(result: Json, size: tuple[int, int]) -> Json:
    """What COCOeval needs of a result: the mask as packed run lengths, its area, the score; no box."""
    codec = import_optional("pycocotools.mask", extra="coco")
    mask = result["segmentation"]
    if isinstance(mask, list):
        mask = codec.merge(codec.frPyObjects(mask, *size))
    elif isinstance(mask["counts"], list):
        mask = codec.frPyObjects(mask, *size)
    return {
        "category_id": result["category_id"],
        "segmentation": mask,
        "area": int(codec.area(mask)),
        "score": result["score"],
        "iscrowd": 0,
    }


def _numbers(evaluator: Any, names: dict[int, str]) -> Json:
    """COCOeval's arrays in percent; -1 and NaN, its words for undefined, become None."""
    # axes: IoU threshold (the first is 0.5), recall, category, area range (the first is all), detections
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    return {
        "unit": "percent (0..100)",
        "stats": {
            name: 100 * value if value >= 0 else None
            for name, value in zip(STATISTICS, map(float, evaluator.stats), strict=True)
        },
        "per_class": {
            str(category_id): {
                "name": names[category_id],
                "AP": _mean_percent(precision[:, :, position]),
                "AP50": _mean_percent(precision[0, :, position]),
            }
            for position, category_id in enumerate(map(int, evaluator.params.catIds))
        },
    }


def _mean_percent(precision: np.ndarray) -> float | None:
    defined = precision[precision > -1]
    return 100 * float(defined.mean()) if defined.size else None


def _read_json(path: Path, *, is_list: bool) -> Any:
    """The content of a file that must be an object or a list."""
    form = "a list of results" if is_list else "an object with images, annotations and categories"
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DatasetError(f"{path} has {size:,} bytes, expected at most {MAX_BYTES:,}: check the path")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(
            f"cannot read {path} ({error.strerror or error}): expected a JSON file, {form}; check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{path} is no JSON or cut off ({error}); expected {form}: copy it again"
        ) from error
    if not isinstance(content, list if is_list else dict):
        raise DatasetError(
            f"{path} holds a JSON {type(content).__name__}, expected {form}; were two exchanged?"
        )
    return content
