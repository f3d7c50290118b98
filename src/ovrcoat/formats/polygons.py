"""Polygons to masks. A pixel belongs to a polygon if its center is inside (even-odd rule)."""

import numpy as np
from jaxtyping import Bool, Float

MIN_POINTS = 3  # a polygon with fewer points encloses nothing


def fill_polygon(
    points: Float[np.ndarray, "point 2"], *, height: int, width: int
) -> Bool[np.ndarray, "height width"]:
    """Return the mask of a polygon.

    Args:
        points: (x, y) in pixels; (0, 0) is the upper left corner of the image, not a pixel's center. Parts
            outside of the image are cut off.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    x, y = np.asarray(points, dtype=np.float64).T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    lowest, highest = np.minimum(y, next_y), np.maximum(y, next_y)
    first = np.clip(np.ceil(lowest - 0.5), 0, height).astype(np.int64)
    end = np.clip(np.ceil(highest - 0.5), 0, height).astype(np.int64)
    # one entry for each edge and each row of pixel centers that it crosses
    counts = end - first
    edges = np.repeat(np.arange(len(x)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edges]
    share = (rows + 0.5 - y[edges]) / (next_y - y)[edges]
    crossings = x[edges] + share * (next_x - x)[edges]
    columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
    mask = np.zeros((height, width), dtype=np.bool_)
    if len(rows) == 0:
        return mask
    top, bottom = int(rows.min()), int(rows.max()) + 1
    toggles = np.zeros((bottom - top, width + 1), dtype=np.uint8)
    np.add.at(toggles, (rows - top, columns), 1)
    mask[top:bottom] = np.cumsum(toggles[:, :width], axis=1, dtype=np.uint8) % 2  # 256 wraps around to even
    return mask


def polygon_area(points: Float[np.ndarray, "point 2"]) -> float:
    """Return the area of a polygon in pixels (shoelace formula)."""
    x, y = np.asarray(points, dtype=np.float64).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
