"""Masks as polygons: one per part, with the holes connected to the outline, since polygons have none."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import KDTree

from ovrcoat.formats.outlines import trace_rings

MIN_CORNERS = 3


def mask_polygons(
    mask: Bool[np.ndarray, "height width"], *, epsilon_factor: float = 0.0
) -> list[Float[np.ndarray, "corner 2"]]:
    """Return one polygon per part of a mask.

    Args:
        mask: pixels that touch at a corner only belong to different parts.
        epsilon_factor: largest distance that a corner may be moved, relative to the length of its outline. 0:
            filling the polygons with the even-odd rule gives the mask again.

    Returns:
        Arrays of (x, y) in pixels, without repeating the first corner. (0, 0) is the upper left corner of the
        image. A hole is connected to the outline by a bridge without width.
    """
    parts, _ = ndimage.label(mask)
    polygons = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
        rings = [ring.astype(np.float64) for ring in trace_rings(parts[rows, columns] == number)]
        if epsilon_factor:
            rings = [_simplify(ring, epsilon_factor) for ring in rings]
            rings = [rings[0], *(ring for ring in rings[1:] if len(ring) >= MIN_CORNERS)]
        polygons.append(_connect(rings) + np.array([columns.start, rows.start]))
    return [polygon for polygon in polygons if len(polygon) >= MIN_CORNERS]


def _connect(rings: Sequence[Float[np.ndarray, "_ 2"]]) -> Float[np.ndarray, "_ 2"]:
    """Return one closed line through all rings: from the first ring to each other one and back."""
    outline = rings[0]
    detours: dict[int, list[np.ndarray]] = {}
    for hole in rings[1:]:
        distances, nearest = KDTree(outline).query(hole)
        start = int(np.argmin(distances))
        corner = int(nearest[start])
        turned = np.roll(hole, -start, axis=0)
        detours.setdefault(corner, []).append(
            np.concatenate([turned, turned[:1], outline[corner : corner + 1]])
        )
    pieces = [[point[None], *detours.get(corner, [])] for corner, point in enumerate(outline)]
    return np.concatenate([piece for group in pieces for piece in group])


def _simplify(ring: Float[np.ndarray, "_ 2"], factor: float) -> Float[np.ndarray, "_ 2"]:
    """Remove corners of a closed ring by the algorithm of Douglas and Peucker."""
    tolerance = factor * float(np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1).sum())
    opposite = int(np.argmax(np.linalg.norm(ring - ring[0], axis=1)))
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), dtype=bool)
    kept[[0, opposite]] = True
    open_spans = [(0, opposite), (opposite, len(ring))]
    while open_spans:
        first, last = open_spans.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        farthest = int(np.argmax(distances))
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            kept[middle] = True
            open_spans += [(first, middle), (middle, last)]
    return ring[kept[:-1]]


def _distances(
    points: Float[np.ndarray, "point 2"], start: Float[np.ndarray, "2"], end: Float[np.ndarray, "2"]
) -> Float[np.ndarray, " point"]:
    """Return the distance of each point from the line through two points."""
    direction, offsets = end - start, points - start
    length = float(np.hypot(*direction))
    if length == 0:
        return np.linalg.norm(offsets, axis=1)
    return np.abs(direction[0] * offsets[:, 1] - direction[1] * offsets[:, 0]) / length
