"""Results as objects of other libraries: supervision, FiftyOne, transformers."""

from typing import Any

import numpy as np

from ovrcoat.results.exports.category_maps import category_positions, map_segments
from ovrcoat.results.exports.exporter import LabeledResult
from ovrcoat.results.segment import Segment
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Category


def to_supervision(result: LabeledResult) -> Any:
    """Return `supervision.Detections`; see `Result.to_supervision`."""
    supervision = import_optional("supervision", extra="supervision")
    if not result.segments:
        return supervision.Detections.empty()
    bboxes = np.array([segment.bbox for segment in result.segments], dtype=np.float32)
    xyxy = np.hstack([bboxes[:, :2], bboxes[:, :2] + bboxes[:, 2:]])
    return supervision.Detections(
        xyxy=xyxy,
        mask=np.stack([result.mask(segment.id) for segment in result.segments]),
        confidence=np.array([segment.score for segment in result.segments], dtype=np.float32),
        class_id=np.array([segment.category_id for segment in result.segments]),
        data={
            "class_name": np.array([segment.category for segment in result.segments]),
            "isthing": np.array([segment.is_thing for segment in result.segments]),
            "segment_id": np.array([segment.id for segment in result.segments]),
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
            segment_ids={segment.category: segment.id for segment in stuff},
            scores={segment.category: segment.score for segment in stuff},
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

    if result.task == "instance":
        masks = [torch.from_numpy(result.mask(segment.id)) for segment in result.segments]
        maps = (
            torch.stack(masks).to(torch.int32) if masks else torch.zeros((0, *result.size), dtype=torch.int32)
        )
    else:
        maps = torch.from_numpy(result.segment_map().copy())
    return {
        "segmentation": maps,
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
