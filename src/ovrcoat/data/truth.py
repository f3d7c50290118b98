"""What is known of a labelled image: its segments, pixel by pixel. Light: needs no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from ovrcoat.formats.annotations import TrueSegment

IGNORED = -1  # in a semantic map: nobody knows, or nobody asks


@dataclass(frozen=True, slots=True, eq=False)
class PanopticTruth:
    """The segments of one image, in the order of their JSON; 0 in `id_map` is void."""

    id_map: Int32[np.ndarray, "height width"]
    segments: tuple[TrueSegment, ...]


def replace_ids(
    id_map: Int32[np.ndarray, "height width"], value_of: Mapping[int, int], *, otherwise: int
) -> Int32[np.ndarray, "height width"]:
    """Put `value_of` each id in its place; what it does not hold becomes `otherwise`."""
    ids, inverse = np.unique(id_map, return_inverse=True)
    values = np.array([value_of.get(id, otherwise) for id in ids.tolist()], dtype=np.int32)
    return values[inverse].reshape(id_map.shape)


def semantic_from_panoptic(
    truth: PanopticTruth, category_ids: Iterable[int]
) -> Int32[np.ndarray, "height width"]:
    """Positions in `category_ids` per pixel, `IGNORED` without segment; a crowd counts as its category."""
    position = {category_id: place for place, category_id in enumerate(category_ids)}
    category_of = {segment.id: position[segment.category_id] for segment in truth.segments}
    return replace_ids(truth.id_map, category_of, otherwise=IGNORED)
