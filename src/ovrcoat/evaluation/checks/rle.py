"""How many pixels a mask of COCO's formats covers, without drawing it: run lengths and polygons.

For checks of files from strangers: whatever comes, an answer or a reason goes out, never an exception.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

MIN_POINTS = 3  # of a polygon that has an inside
LARGEST = 1e15  # whole numbers up to here are exact in floating point


@dataclass(frozen=True, slots=True)
class MaskArea:
    """Pixels of a mask; `slack` is how far a right count may lie from it: 0 for run lengths."""

    pixels: float
    slack: float = 0.0


@dataclass(frozen=True, slots=True)
class MaskFault:
    """Why a mask cannot be used: one of "missing", "damaged", "size-differs", "too-few-points"."""

    kind: str
    detail: str


def measure_mask(segmentation: object, *, size: tuple[int, int] | None) -> MaskArea | MaskFault:
    """The area of `segmentation`: a dict of run lengths (packed text or a list) or a list of polygons.

    `size` is (height, width) of the image in pixels; None if it is not known: nothing is compared with it.
    """
    if isinstance(segmentation, dict):
        return _measure_runs(segmentation, size=size)
    if isinstance(segmentation, list) and segmentation:
        return _measure_polygons(segmentation)
    if segmentation is None or segmentation == []:
        return MaskFault("missing", "no segmentation")
    return MaskFault("damaged", f"a segmentation of type {type(segmentation).__name__}")


def _measure_runs(segmentation: dict[Any, Any], *, size: tuple[int, int] | None) -> MaskArea | MaskFault:
    own = segmentation.get("size")
    if not (isinstance(own, list | tuple) and len(own) == 2 and all(type(side) is int for side in own)):
        return MaskFault("damaged", "run lengths without their size [height, width]")
    if size is not None and tuple(own) != size:
        turned = ", height and width exchanged" if (own[1], own[0]) == size else ""
        return MaskFault(
            "size-differs", f"mask {own[1]} × {own[0]}, image {size[1]} × {size[0]} (width × height){turned}"
        )
    runs = _runs(segmentation.get("counts"))
    if runs is None:
        return MaskFault("damaged", "counts that are no run lengths")
    if bool((runs < 0).any()) or int(runs.sum()) != own[0] * own[1]:
        return MaskFault("damaged", f"runs of {int(runs.sum())} pixels in all, expected {own[0] * own[1]}")
    return MaskArea(float(runs[1::2].sum()))  # runs alternate: outside, inside, outside, ...


def _runs(counts: object) -> Int64[np.ndarray, " run"] | None:
    """Run lengths from a list of numbers or from COCO's packed text; None if they are neither."""
    if isinstance(counts, list):
        plain = all(type(count) is int and abs(count) < 2**40 for count in counts)
        return np.array(counts, dtype=np.int64) if plain else None
    if isinstance(counts, str):
        try:
            counts = counts.encode("ascii")
        except UnicodeEncodeError:
            return None
    return _unpack(counts) if isinstance(counts, bytes) else None


def _unpack(packed: bytes) -> Int64[np.ndarray, " run"] | None:
    """COCO's packed text: 6-bit digits from "0" on, least first: 5 bits of value, one for "more follow".

    The last digit's highest value bit is the sign. From the fourth number on, a number is the difference to
    the last but one.
    """
    digits = np.frombuffer(packed, dtype=np.uint8).astype(np.int64) - ord("0")
    if digits.size == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 0x20:
        return None
    last = np.flatnonzero(digits & 0x20 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > 8:  # 40 bits: more than any picture has pixels
        return None
    shifts = 5 * (np.arange(digits.size) - np.repeat(first, lengths))
    values = np.add.reduceat((digits & 0x1F) << shifts, first)
    values -= np.where(digits[last] & 0x10, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _measure_polygons(polygons: list[Any]) -> MaskArea | MaskFault:
    """Area by the shoelace rule; pixels along the border may count or not, hence the slack."""
    pixels = border = 0.0
    for polygon in polygons:
        if not isinstance(polygon, list) or not all(is_number(value) for value in polygon):
            return MaskFault("damaged", "a polygon that is no list of numbers [x, y, x, y, ...]")
        if len(polygon) % 2:
            return MaskFault("damaged", f"a polygon of {len(polygon)} numbers, expected pairs x, y")
        if len(polygon) < 2 * MIN_POINTS:
            return MaskFault("too-few-points", f"a polygon of {len(polygon) // 2} points")
        x, y = np.asarray(polygon, dtype=np.float64).reshape(-1, 2).T
        pixels += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
        border += float(np.hypot(x - np.roll(x, -1), y - np.roll(y, -1)).sum())
    return MaskArea(pixels, slack=border + 1.0)


def is_number(value: object) -> bool:
    """A finite number of a size that means something; JSON also holds NaN, Infinity and 10⁴⁰⁰."""
    return type(value) in (int, float) and abs(value) < LARGEST  # type: ignore[arg-type]
