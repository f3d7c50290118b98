"""COCO's run lengths: lists of numbers or compressed text, to numbers and masks. Safe for untrusted files."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from ovrcoat.formats.limits import MAX_PIXELS
from ovrcoat.system.json_values import as_integer


def decode_runs(segmentation: Mapping[str, Any]) -> Bool[np.ndarray, "height width"] | None:
    """Return the mask of COCO's `{"size": [height, width], "counts": ...}`; None if it is not valid."""
    size = segmentation.get("size")
    if not isinstance(size, list | tuple) or len(size) != 2:
        return None
    height, width = (as_integer(side) for side in size)
    if type(height) is not int or type(width) is not int or height < 1 or width < 1:
        return None
    runs = read_runs(segmentation.get("counts"))
    pixels = height * width
    if pixels > MAX_PIXELS or runs is None or bool((runs < 0).any()) or int(runs.sum()) != pixels:
        return None
    inside = np.arange(len(runs)) % 2 == 1  # runs alternate: outside, inside, outside, ...
    return np.repeat(inside, runs).reshape(width, height).T  # column by column


def read_runs(counts: object) -> Int64[np.ndarray, " run"] | None:
    """Read run lengths from a list of numbers or from COCO's compressed text; None if they are neither."""
    if isinstance(counts, list):
        plain = all(type(count) is int and abs(count) < 2**40 for count in counts)
        return np.array(counts, dtype=np.int64) if plain else None
    if isinstance(counts, str):
        try:
            counts = counts.encode("ascii")
        except UnicodeEncodeError:
            return None
    return _decompress(counts) if isinstance(counts, bytes) else None


def _decompress(compressed: bytes) -> Int64[np.ndarray, " run"] | None:
    """Decompress COCO's text format.

    Each character is a 6-bit digit counted from "0", least significant first: 5 bits of value and one bit for
    "more digits follow". The highest value bit of the last digit is the sign. From the fourth number on, each
    number is stored as the difference from the one two positions before.
    """
    digits = np.frombuffer(compressed, dtype=np.uint8).astype(np.int64) - ord("0")
    if digits.size == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 0x20:
        return None
    last = np.flatnonzero(digits & 0x20 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > 8:  # 40 bits: more than any image has pixels
        return None
    shifts = 5 * (np.arange(digits.size) - np.repeat(first, lengths))
    values = np.add.reduceat((digits & 0x1F) << shifts, first)
    values -= np.where(digits[last] & 0x10, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
