"""Create `Segment` objects; shared by panoptic, semantic and instance post-processing."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from ovrcoat.results.segment import TOP_CATEGORIES, BBox, Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category

ROWS_AT_ONCE = 256  # limits memory: NumPy's index arrays need eight bytes per pixel


def make_segment(
    scored: ScoredMasks,
    query: int,
    *,
    id: int,
    category: Category,
    categories: Sequence[Category],
    score: float,
    region: tuple[int, BBox],
) -> Segment:
    """Create the segment `id` of `category` from `query`; `region` is its area in pixels and its bbox."""
    area, bbox = region
    return Segment(
        id=id,
        category_id=category.id,
        category=category.name,
        score=score,
        area=area,
        bbox=bbox,
        is_thing=category.is_thing,
        objectness=float(scored.objectness[query]),
        objectness_before=float(scored.objectness_before[query]),
        clip_confidence=float(scored.clip_confidence[query]),
        top=top_categories(scored.category_probs[query], categories),
        query=query,
    )


def top_categories(
    probs: Float[Tensor, " category"], categories: Sequence[Category]
) -> tuple[tuple[str, float], ...]:
    """Return name and probability of the most likely `categories`, which come first in `probs`."""
    best = probs[: len(categories)].topk(min(TOP_CATEGORIES, len(categories)))
    return tuple(
        (categories[index].name, probability)
        for index, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )


def bboxes(id_map: Int32[np.ndarray, "height width"]) -> Mapping[int, BBox]:
    """Return the bbox of each id in the map except 0."""
    height, width = id_map.shape
    count = int(id_map.max(initial=0)) + 1
    in_row, in_column = np.zeros((count, height), bool), np.zeros((count, width), bool)
    for top in range(0, height, ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        in_row[id_map[rows], np.arange(height)[rows, None]] = True
        in_column[id_map[rows], np.arange(width)] = True
    return {id: bbox_of(in_row[id], in_column[id]) for id in range(1, count) if in_row[id].any()}


def bbox_of(in_row: Bool[np.ndarray, " height"], in_column: Bool[np.ndarray, " width"]) -> BBox:
    """Return the bbox of a region from the rows and columns that it occupies; (0, 0, 0, 0) if it is empty."""
    rows, columns = in_row.nonzero()[0], in_column.nonzero()[0]
    if len(rows) == 0:
        return 0, 0, 0, 0
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1
