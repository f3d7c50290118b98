"""Queries and pixels → `Segment`s: what panoptic, semantic and instance output describe alike."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int32

from ovrcoat.results.segment import TOP_CATEGORIES, Box, Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category


def describe(
    scored: ScoredMasks,
    query: int,
    *,
    id: int,
    category: Category,
    categories: Sequence[Category],
    score: float,
    region: tuple[int, Box],
) -> Segment:
    """Make the segment `id` of `category` from `query`; `region` is its area and box in pixels."""
    visible = scored.category_probs[query, : len(categories)]
    top = visible.topk(min(TOP_CATEGORIES, len(categories)))
    area, box = region
    return Segment(
        id=id,
        category_id=category.id,
        category=category.name,
        score=score,
        area=area,
        box=box,
        is_thing=category.is_thing,
        objectness=float(scored.objectness[query]),
        objectness_before=float(scored.objectness_before[query]),
        certainty=float(scored.certainty[query]),
        top=tuple(
            (categories[index].name, probability)
            for index, probability in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ),
        query=query,
    )


def boxes(id_map: Int32[np.ndarray, "height width"]) -> Mapping[int, Box]:
    """The box of each id in the map, 0 left out."""
    from scipy.ndimage import find_objects

    found = {}
    for id, place in enumerate(find_objects(id_map), start=1):
        if place is not None:
            rows, columns = place
            found[id] = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    return found
