"""Compute the area of masks in COCO's formats (run lengths and polygons) without drawing them.

Intended for untrusted files: invalid input gives an `InvalidMask`, never an exception.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ovrcoat.formats.polygons import MIN_POINTS
from ovrcoat.formats.run_lengths import read_runs
from ovrcoat.system.json_values import as_integer

MAX_NUMBER = 1e15  # integers up to this value are exact in floating point
MAX_MASK_PIXELS = 2**32 - 1  # pycocotools counts pixels in 32 bits
# Length in pixels of a polygon's outline, which pycocotools stores pixel by pixel: 40 bytes each, so 400 MB.
MAX_OUTLINE = 10_000_000


@dataclass(frozen=True, slots=True)
class MaskArea:
    """Area of a mask.

    Attributes:
        pixels: Area in pixels.
        tolerance: By how much a correct pixel count can differ from `pixels`; 0 for run lengths.
    """

    pixels: float
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class InvalidMask:
    """Why a mask cannot be used.

    Attributes:
        reason: One of "missing", "damaged", "size-differs", "too-few-points".
        detail: Description for people.
    """

    reason: str
    detail: str


def measure_mask(segmentation: object, *, size: tuple[int, int] | None) -> MaskArea | InvalidMask:
    """Compute the area of a COCO `segmentation`.

    Args:
        segmentation: A dict of run lengths (compressed text or a list), or a list of polygons.
        size: (height, width) of the image in pixels; None skips the comparison with the mask's size.

    Returns:
        The area, or why the mask cannot be used.
    """
    if isinstance(segmentation, dict):
        return _measure_runs(segmentation, size=size)
    if isinstance(segmentation, list) and segmentation:
        return _measure_polygons(segmentation, size=size)
    if segmentation is None or segmentation == []:
        return InvalidMask("missing", "no segmentation")
    return InvalidMask("damaged", f"a segmentation of type {type(segmentation).__name__}")


def _measure_runs(segmentation: dict[Any, Any], *, size: tuple[int, int] | None) -> MaskArea | InvalidMask:
    mask_size = segmentation.get("size")
    if isinstance(mask_size, list | tuple):
        mask_size = [as_integer(side) for side in mask_size]
    if not (
        isinstance(mask_size, list | tuple)
        and len(mask_size) == 2
        and all(type(side) is int for side in mask_size)
    ):
        return InvalidMask("damaged", "run lengths without their size [height, width]")
    height, width = mask_size
    if size is not None and (height, width) != size:
        swapped = ", height and width are swapped" if (width, height) == size else ""
        return InvalidMask(
            "size-differs", f"mask {width} × {height}, image {size[1]} × {size[0]} (width × height){swapped}"
        )
    if not (0 <= height <= MAX_MASK_PIXELS and width >= 0 and height * width <= MAX_MASK_PIXELS):
        return InvalidMask(
            "damaged", f"a mask of {width} × {height} pixels, expected at most {MAX_MASK_PIXELS} in total"
        )
    runs = read_runs(segmentation.get("counts"))
    if runs is None:
        return InvalidMask("damaged", "counts that are not run lengths")
    if bool((runs < 0).any()) or int(runs.sum()) != height * width:
        return InvalidMask("damaged", f"runs of {int(runs.sum())} pixels in total, expected {height * width}")
    return MaskArea(float(runs[1::2].sum()))  # runs alternate: outside, inside, outside, ...


def _measure_polygons(polygons: list[Any], *, size: tuple[int, int] | None) -> MaskArea | InvalidMask:
    """Compute the area by the shoelace formula; border pixels may or may not count, hence the tolerance.

    Coordinates far outside of the image and endless outlines are invalid: pycocotools crashes on them.
    """
    pixels = border = 0.0
    for polygon in polygons:
        numbers = _as_numbers(polygon)
        if numbers is None:
            return InvalidMask("damaged", "a polygon that is not a list of numbers [x, y, x, y, ...]")
        if len(numbers) % 2:
            return InvalidMask("damaged", f"a polygon of {len(numbers)} numbers, expected pairs x, y")
        if len(numbers) < 2 * MIN_POINTS:
            return InvalidMask("too-few-points", f"a polygon of {len(numbers) // 2} points")
        x, y = numbers.reshape(-1, 2).T
        next_x, next_y = np.concatenate((numbers[2:], numbers[:2])).reshape(-1, 2).T
        steps_x, steps_y = np.abs(next_x - x), np.abs(next_y - y)
        if (problem := _outline_problem(x, y, np.maximum(steps_x, steps_y), size=size)) is not None:
            return InvalidMask("damaged", problem)
        pixels += abs(float(x @ next_y - y @ next_x)) / 2
        border += float(np.hypot(steps_x, steps_y).sum())
    return MaskArea(pixels, tolerance=border + 1.0)


def _as_numbers(polygon: object) -> Float[np.ndarray, " number"] | None:
    """Return the numbers of a polygon; None if a value is not a number as `is_number` defines it.

    A polygon can have millions of numbers, so they are compared as an array.
    """
    if not isinstance(polygon, list) or not {int, float}.issuperset(map(type, polygon)):
        return None
    try:
        numbers = np.array(polygon, dtype=np.float64)
    except OverflowError:  # an integer of more than 308 digits
        return None
    return numbers if bool((np.abs(numbers) < MAX_NUMBER).all()) else None


def _outline_problem(
    x: Float[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    steps: Float[np.ndarray, " point"],
    *,
    size: tuple[int, int] | None,
) -> str | None:
    """Return why a polygon must not be drawn, or None. It may exceed the image by one image size.

    `steps` are the pixels between each point and the next.
    """
    if size is not None:
        for values, side, axis in ((x, size[1], "x"), (y, size[0], "y")):
            low, high = values.min(), values.max()
            if low < -side or high > 2 * side:
                extreme = low if low < -side else high
                return f"a polygon with {axis} = {extreme:g} in an image of {size[1]} × {size[0]} pixels"
    if (outline := steps.sum()) > MAX_OUTLINE:
        return f"a polygon with an outline of {outline:g} pixels, expected at most {MAX_OUTLINE}"
    return None


def is_number(value: object) -> bool:
    """Return whether a JSON value is a finite number of moderate size (JSON can hold NaN and 10⁴⁰⁰)."""
    return type(value) in (int, float) and abs(value) < MAX_NUMBER  # type: ignore[arg-type]
