"""Maps of categories, derived from maps of segments and encoded as gray PNG; masks of all segments."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32
from PIL import Image, PngImagePlugin

from ovrcoat.results.exports.exporter import LabeledResult
from ovrcoat.results.segment import Segment
from ovrcoat.system.atomic_write import PNG_SIGNATURE
from ovrcoat.vocabulary import Category


def category_positions(categories: Sequence[Category]) -> dict[int, int]:
    """Return the position of each category in the vocabulary, from 0, by its id."""
    return {category.id: position for position, category in enumerate(categories)}


def map_segments(
    result: LabeledResult, values: Sequence[int], *, segments: Sequence[Segment]
) -> Int32[np.ndarray, "height width"]:
    """Return a map that holds `values[i]` at the pixels of `segments[i]`, and 0 elsewhere."""
    table = np.zeros(1 + max((segment.id for segment in result.segments), default=0), dtype=np.int32)
    for segment, value in zip(segments, values, strict=True):
        table[segment.id] = value
    return table[result.segment_map()]


def stack_masks(result: LabeledResult) -> Bool[np.ndarray, "segment height width"]:
    """Return the masks of all segments."""
    masks = [result.mask(segment.id) for segment in result.segments]
    return np.stack(masks) if masks else np.zeros((0, *result.size), dtype=np.bool_)


def encode_gray(values: Int32[np.ndarray, "height width"], *, bits: int) -> bytes:
    """Encode values from 0 to 2^bits - 1 as a grayscale PNG with 8 or 16 bits per pixel."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(*PNG_SIGNATURE)
    picture = Image.fromarray(values.astype(np.uint8 if bits == 8 else np.uint16))
    with io.BytesIO() as file:
        picture.save(file, format="PNG", pnginfo=chunks)
        return file.getvalue()
