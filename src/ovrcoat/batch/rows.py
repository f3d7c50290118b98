"""Rows of a batch run: images in, one row per image out. All engines share this step.

A row has plain Python values, so that it can pass between processes and into any table.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovrcoat.batch.item import Item
from ovrcoat.errors import ImageError
from ovrcoat.segmentation.postprocess import AnyResult
from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.optional_imports import import_optional

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An image that cannot be read.

    Attributes:
        id: of the item.
        path: of the item.
        reason: one line.
    """

    id: str
    path: str
    reason: str

    def to_row(self) -> Row:
        """Return a row of the quarantine table."""
        return {"id": self.id, "path": self.path, "reason": self.reason}


def predict_rows(
    segmenter: Segmenter,
    prompt: SegmentationPrompt,
    items: Sequence[Item],
    *,
    hashes: dict[str, str],
    batch_size: int = 1,
) -> Iterator[Row | Quarantined]:
    """Segment images: yields one row per item, in order. Keeps nothing between calls.

    Args:
        segmenter: the model.
        prompt: vocabulary and options.
        items: the images.
        hashes: fingerprints of `model` and `vocabulary`, which every row repeats.
        batch_size: maximum number of images per batch; does not change rows.

    Yields:
        A row, whose keys are the columns of `schema.image_schema`; or a `Quarantined` for an image that
        cannot be read.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    codec = import_optional("pycocotools.mask", extra="batch")
    sources = [item.source() for item in items if item.problem is None]
    results = segmenter.predict_many(sources, prompt, batch_size=batch_size, on_error="yield")
    for item in items:
        if item.problem is not None:
            yield Quarantined(item.id, item.path, item.problem)
            continue
        _, result = next(results)
        if isinstance(result, ImageError):
            yield Quarantined(item.id, item.path, " ".join(str(result).split()))
        else:
            yield _row(item, result, codec=codec) | hashes
        del result


def _row(item: Item, result: AnyResult, *, codec: Any) -> Row:
    height, width = result.size
    return {
        "id": item.id,
        "path": item.path,
        "width": width,
        "height": height,
        "segments": [
            {
                "id": segment.id,
                "category_id": segment.category_id,
                "category": segment.category,
                "is_thing": segment.is_thing,
                "score": segment.score,
                "objectness": segment.objectness,
                "objectness_before": segment.objectness_before,
                "clip_confidence": segment.clip_confidence,
                "area": segment.area,
                "bbox": list(segment.bbox),
                "top": [{"category": name, "probability": value} for name, value in segment.top],
                "segmentation": _run_lengths(result.mask(segment.id), codec=codec),
            }
            for segment in result.segments
        ],
        "notes": list(result.notes),
    }


def _run_lengths(mask: np.ndarray, *, codec: Any) -> Row:
    """Return a mask as COCO's compressed run lengths."""
    runs = codec.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")}
