"""Results as objects of other libraries: supervision, FiftyOne, transformers."""

from typing import Any

import numpy as np

from ovrcoat.results.exports.category_maps import category_positions, map_segments, stack_masks
from ovrcoat.results.exports.exporter import LabeledResult
from ovrcoat.results.segment import Segment
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Category


def to_supervision(result: LabeledResult) -> Any:
    """Return `supervision.Detections`; see `Result.to_supervision`."""
    supervision = import_optional("supervision", extra="supervision")
    bboxes = np.array([segment.bbox for segment in result.segments], dtype=np.float32).reshape(-1, 4)
    xyxy = np.hstack([bboxes[:, :2], bboxes[:, :2] + bboxes[:, 2:]])
    return supervision.Detections(
        xyxy=xyxy,
        mask=stack_masks(result),
        confidence=np.array([segment.score for segment in result.segments], dtype=np.float32),
        class_id=np.array([segment.category_id for segment in result.segments], dtype=np.int64),
        data={
            "class_name": np.array([segment.category for segment in result.segments], dtype=np.str_),
            "isthing": np.array([segment.is_thing for segment in result.segments], dtype=np.bool_),
            "segment_id": np.array([segment.id for segment in result.segments], dtype=np.int64),
        },
    )


def to_fiftyone(result: LabeledResult, categories: tuple[Category, ...]) -> dict[str, Any]:
    """Return FiftyOne labels; see `Result.to_fiftyone`."""
    fiftyone = import_optional("fiftyone", extra="fiftyone")
    things = [segment for segment in result.segments if segment.is_thing]
    stuff = [segment for segment in result.segments if not segment.is_thing]
    labels = {
        "things": fiftyone.Detections(detections=[_detection(fiftyone, thing, result) for thing in things])
    }
    if result.task != "instance":
        positions = category_positions(categories)
        values = [positions[segment.category_id] + 1 for segment in stuff]
        labels["stuff"] = fiftyone.Segmentation(
            mask=map_segments(result, values, segments=stuff).astype(np.uint16),
            segments=[
                {
                    "segment_id": segment.id,
                    "value": value,
                    "label": segment.category,
                    "confidence": segment.score,
                }
                for segment, value in zip(stuff, values, strict=True)
            ],
        )
    return labels


def _detection(fiftyone: Any, segment: Segment, result: LabeledResult) -> Any:
    height, width = result.size
    x, y, box_width, box_height = segment.bbox
    return fiftyone.Detection(
        label=segment.category,
        bounding_box=[x / width, y / height, box_width / width, box_height / height],
        mask=result.mask(segment.id)[y : y + box_height, x : x + box_width],
        confidence=segment.score,
        segment_id=segment.id,
    )


def to_hf(result: LabeledResult) -> dict[str, Any]:
    """Return a dict like those of transformers; see `Result.to_hf`."""
    import torch

    may_overlap = result.task == "instance"
    maps = stack_masks(result).astype(np.int32) if may_overlap else result.segment_map().copy()
    return {
        "segmentation": torch.from_numpy(maps),
        "segments_info": [
            {
                "id": segment.id,
                "label_id": segment.category_id,
                "was_fused": not segment.is_thing,
                "score": segment.score,
            }
            for segment in result.segments
        ],
    }
