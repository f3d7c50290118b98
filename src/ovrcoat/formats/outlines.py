"""Masks to outlines: rings along the edges of pixels, exact in both directions.

Filling the rings of a mask with the even-odd rule (`polygons.fill_polygon`) returns the same mask, with its
holes and parts.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int64

Ring = Int64[np.ndarray, "corner 2"]


def trace_rings(mask: Bool[np.ndarray, "height width"]) -> list[np.ndarray]:
    """Return the closed outlines of a mask, the one that encloses the largest area first.

    Args:
        mask: pixels that touch at a corner only belong to different parts.

    Returns:
        Arrays of (x, y), shape (corners, 2), without repeating the first corner. (0, 0) is the upper left
        corner of the image, and (width, height) the lower right one. Outer rings run clockwise as seen in
        the image, rings around holes counterclockwise (see `signed_area`).
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return []
    top, left = rows[0], columns[0]
    corners, next_corner = _link_corners(mask[top : rows[-1] + 1, left : columns[-1] + 1])
    corners += (left, top)
    rings = []
    is_left = np.ones(len(corners), dtype=bool)
    for start in range(len(corners)):
        if not is_left[start]:
            continue
        ring = [start]
        is_left[start] = False
        while (following := next_corner[ring[-1]]) != start:
            ring.append(following)
            is_left[following] = False
        rings.append(corners[ring])
    return sorted(rings, key=lambda ring: -abs(signed_area(ring)))


def signed_area(ring: Ring) -> int:
    """Return the area that a ring encloses in pixels; negative for a ring around a hole."""
    x, y = ring.T
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1)) // 2


def connect_rings(rings: Sequence[np.ndarray]) -> Float[np.ndarray, "corner 2"]:
    """Return one closed polygon that consists of all rings, connected by bridges without width.

    Each ring is connected with the first one, where they are closest. A bridge is traversed in both
    directions, so it has no area.

    Args:
        rings: at least one ring of (x, y), without repeating the first corner.
    """
    if len(rings) == 1:
        return rings[0].astype(np.float64)
    from scipy.spatial import KDTree  # imported here: most segments have one ring

    first = rings[0]
    tree = KDTree(first)
    detours: dict[int, list[np.ndarray]] = {}
    for ring in rings[1:]:
        distances, nearest = tree.query(ring)
        start = int(np.argmin(distances))
        closed = np.roll(ring, -start, axis=0)
        at = int(nearest[start])
        detours.setdefault(at, []).append(np.concatenate([closed, closed[:1], first[at : at + 1]]))
    pieces = []
    for at, corner in enumerate(first):
        pieces += [corner[None], *detours.get(at, [])]
    return np.concatenate(pieces).astype(np.float64)


def _link_corners(mask: Bool[np.ndarray, "height width"]) -> tuple[Ring, list[int]]:
    """Return the corners of all rings, and for each corner the position of the next one.

    The edges of pixels in one row of corners are disjoint segments. Sorted by x, their ends are therefore
    pairs: first and second, third and fourth, and so on. The same holds for columns. Where two pixels touch
    at a corner only, four edges meet, and the corner is there twice.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    is_saddle = (upper_left == lower_right) & (upper_right == lower_left) & (upper_left != upper_right)
    is_corner = ((upper_left + upper_right + lower_left + lower_right) % 2 == 1) | is_saddle
    y, x = np.nonzero(is_corner)
    repeats = np.where(is_saddle[y, x], 2, 1)
    corner = np.repeat(np.arange(len(x)), repeats)
    copy = np.diff(corner, prepend=-1) == 0  # whether it is the second of two copies
    y, x = y[corner], x[corner]
    # the edge above such a corner continues to the left or to the right, along its own pixel
    column_copy = np.where(upper_left[y, x] == 1, copy, ~copy)
    horizontal = _pair_up(np.lexsort((copy, x, y)))
    vertical = _pair_up(np.lexsort((column_copy, y, x)))
    # clockwise: the mask is below an edge to the right; each corner has one horizontal edge
    goes_right = x[horizontal] > x
    mask_below = np.where(goes_right, lower_right[y, x], lower_left[y, x]) == 1
    next_corner = np.where(goes_right == mask_below, horizontal, vertical)
    return np.stack([x, y], axis=1), next_corner.tolist()


def _pair_up(order: Int64[np.ndarray, " corner"]) -> Int64[np.ndarray, " corner"]:
    """Return for each corner the other one of its pair, where `order` lists the pairs."""
    other = np.empty_like(order)
    other[order[0::2]] = order[1::2]
    other[order[1::2]] = order[0::2]
    return other
