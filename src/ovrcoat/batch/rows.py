"""Rows of a batch run: images in, one row per image out. All engines share this step.

A row has plain Python values, so that it can pass between processes and into any table.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovrcoat.batch.item import Item
from ovrcoat.errors import ImageError
from ovrcoat.formats.panoptic_png import write_id_png
from ovrcoat.results import PanopticResult
from ovrcoat.segmentation.encoded_image import EncodedImage
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
    embeddings: bool = False,
    png: bool = False,
) -> Iterator[Row | Quarantined]:
    """Segment images: yields one row per item, in order. Keeps nothing between calls.

    Args:
        segmenter: the model.
        prompt: vocabulary and options.
        items: the images.
        hashes: fingerprints of `model` and `vocabulary`, which every row repeats.
        batch_size: maximum number of images per batch; does not change rows.
        embeddings: fill the column `embedding` of the segments; not for semantic results.
        png: fill the column `png`; only for panoptic results.

    Yields:
        A row, whose keys are the columns of `schema.image_schema`; or a `Quarantined` for an image that
        cannot be read.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    codec = import_optional("pycocotools.mask", extra="batch")
    sources = [item.source() for item in items if item.problem is None]
    with closing(segmenter.encode_many(sources, batch_size=batch_size)) as encoded_images:
        for item in items:
            if item.problem is not None:
                yield Quarantined(item.id, item.path, item.problem)
                continue
            _, encoded = next(encoded_images)
            if isinstance(encoded, ImageError):
                yield Quarantined(item.id, item.path, " ".join(str(encoded).split()))
                continue
            result = encoded.predict(prompt)
            row = _row(item, result, codec=codec) | hashes
            if embeddings:
                _add_embeddings(row, encoded, result)
            if png:
                row["png"] = _png(result)
            del encoded, result  # or they would stay in memory until the next image is encoded
            yield row


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
                "embedding": None,
            }
            for segment in result.segments
        ],
        "notes": list(result.notes),
        "png": None,
    }


def _add_embeddings(row: Row, encoded: EncodedImage, result: AnyResult) -> None:
    for segment, embedding in zip(row["segments"], encoded.clip_embeddings(result.segments), strict=True):
        segment["embedding"] = embedding.tolist()


def _png(result: AnyResult) -> bytes:
    """Return the id map in the format of COCO's panoptic PNG files."""
    assert isinstance(result, PanopticResult)
    file = io.BytesIO()
    write_id_png(file, result.id_map)
    return file.getvalue()


def _run_lengths(mask: np.ndarray, *, codec: Any) -> Row:
    """Return a mask as COCO's compressed run lengths."""
    runs = codec.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")}
