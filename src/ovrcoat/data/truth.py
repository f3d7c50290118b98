"""Ground truth of an image per pixel. Needs no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from ovrcoat.formats.annotations import SegmentAnnotation

IGNORED = -1  # in a semantic map: the category is unknown or not evaluated


@dataclass(frozen=True, slots=True, eq=False)
class PanopticTruth:
    """Panoptic ground truth of one image.

    Attributes:
        id_map: Segment id of each pixel; 0 is void.
        segments: The segments in the order of their JSON.
    """

    id_map: Int32[np.ndarray, "height width"]
    segments: tuple[SegmentAnnotation, ...]


def replace_ids(
    id_map: Int32[np.ndarray, "height width"], value_of: Mapping[int, int], *, otherwise: int
) -> Int32[np.ndarray, "height width"]:
    """Replace each id by `value_of[id]`, and ids that it lacks by `otherwise`."""
    ids, inverse = np.unique(id_map, return_inverse=True)
    values = np.array([value_of.get(id, otherwise) for id in ids.tolist()], dtype=np.int32)
    return values[inverse].reshape(id_map.shape)


def semantic_from_panoptic(
    truth: PanopticTruth, category_ids: Iterable[int]
) -> Int32[np.ndarray, "height width"]:
    """Derive a semantic map from panoptic ground truth.

    Returns:
        For each pixel the position of its category in `category_ids`, or `IGNORED` where there is no segment.
        Crowds count as their category.
    """
    position_of = {category_id: position for position, category_id in enumerate(category_ids)}
    value_of = {segment.id: position_of[segment.category_id] for segment in truth.segments}
    return replace_ids(truth.id_map, value_of, otherwise=IGNORED)
