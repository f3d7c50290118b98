"""Mask AP, computed by COCO's own code (pycocotools).

Images are renumbered first, because pycocotools supports only some text ids. Boxes are dropped, so that the
size class of a detection is derived from its mask.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from ovrcoat.system.optional_imports import import_optional

STATISTICS = (  # COCOeval.stats in its order: AP over IoU 0.50:0.05:0.95, by IoU, by size; recall likewise
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
Json = dict[str, Any]


def average_precision(truth: Json, results: Sequence[Json], *, renumber_annotations: bool = False) -> Json:
    """Compute mask AP. The input must have passed `check_instances`.

    Args:
        truth: Ground truth in COCO's instances format.
        results: Detections in COCO's results format. Their boxes are ignored.
        renumber_annotations: Number the annotations from 1. Without it, the result equals that of
            pycocotools, which treats a match with annotation 0 as no match.

    Returns:
        `stats` (the twelve COCO statistics) and `per_class` (AP and AP50 by category id as text), in percent;
        None where a value is undefined.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
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
    with redirect_stdout(io.StringIO()):  # pycocotools has no quiet mode
        evaluator = evaluation.COCOeval(
            _index(head | {"annotations": annotations}), _index(head | {"annotations": detections}), "segm"
        )
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return _summary(evaluator, {category["id"]: category.get("name", "") for category in truth["categories"]})


def _index(dataset: Json) -> Any:
    """Return a COCO object for data in memory; its own `loadRes` fails on an empty list."""
    coco = import_optional("pycocotools.coco", extra="coco").COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _detection(result: Json, size: tuple[int, int]) -> Json:
    """Return the fields that COCOeval needs: the mask as compressed RLE, its area, and the score. No box."""
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


def _summary(evaluator: Any, names: dict[int, str]) -> Json:
    """Return COCOeval's results in percent; None for -1 and NaN, which mean undefined."""
    # axes: IoU threshold (first: 0.5), recall, category, area range (first: all), maximum detections
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
