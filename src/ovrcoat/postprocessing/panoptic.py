"""Scored masks of one image → a panoptic map: every pixel belongs to one segment or to void.

Keep the masks that are something, give each pixel to the mask with the largest score × mask probability, drop
masks that lost too much of themselves, merge stuff (Mask2Former's procedure).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from ovrcoat.postprocessing.duplicates import distinct
from ovrcoat.postprocessing.mask_status import ExplainedMask, MaskStatus
from ovrcoat.postprocessing.pixel_assignment import PixelAssignment, assign_pixels, union
from ovrcoat.postprocessing.scoring import class_probs
from ovrcoat.postprocessing.segments import describe
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.results.segment import Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category


@dataclass(frozen=True, slots=True, eq=False)
class PanopticOutput:
    """Id map (0 void, segments 1..n), segments in the order of their ids, and the fate of each query."""

    id_map: Int32[np.ndarray, "height width"]
    segments: tuple[Segment, ...]
    explained_masks: tuple[ExplainedMask, ...]


def panoptic(
    scored: ScoredMasks,
    sizes: ImageSizes,
    *,
    categories: Sequence[Category],
    object_mask_threshold: float,
    overlap_threshold: float,
    duplicate_iou: float | None = None,
) -> PanopticOutput:
    """Let the masks compete for the pixels of a map of `sizes.output`.

    `categories` are the visible ones, in the order of the category axis; what comes after them on that axis
    is hidden: such a mask competes for pixels like any other, and what it wins is void. With `duplicate_iou`
    (not in the paper) only the best of several masks that overlap that much takes part.
    """
    probs, void_probs = class_probs(scored)
    scores, labels = probs.max(-1)
    is_something = scores >= void_probs
    explained_masks = [
        MaskStatus.BELOW_THRESHOLD if something else MaskStatus.VOID for something in is_something.tolist()
    ]
    kept = (is_something & (scores > object_mask_threshold)).nonzero()[:, 0]
    if duplicate_iou is not None:
        for query in kept.tolist():
            explained_masks[query] = MaskStatus.DUPLICATE  # those that stay get another fate below
        kept = kept[distinct(scored.mask_logits[kept], scores[kept], duplicate_iou=duplicate_iou)]

    assignment = assign_pixels(scored.mask_logits[kept], scores[kept], sizes=sizes)
    queries, kept_labels = kept.tolist(), labels[kept].tolist()
    ends = _end_of_each(assignment, kept_labels, visible=len(categories), overlap_threshold=overlap_threshold)
    for query, end in zip(queries, ends, strict=True):
        explained_masks[query] = end
    owners = _merge_stuff(ends, kept_labels, categories=categories)
    id_map = _id_map(assignment, owners)

    segments = []
    segment_of_query: dict[int, int] = {}
    for id, places in enumerate(owners, start=1):
        segment_of_query |= dict.fromkeys((queries[place] for place in places), id)
        area = sum(assignment.held[place] for place in places)
        largest = max(places, key=assignment.held.__getitem__)  # of merged stuff, the largest part speaks
        segments.append(
            describe(
                scored,
                queries[largest],
                id=id,
                category=categories[kept_labels[largest]],
                categories=categories,
                score=float(scores[queries[largest]]),
                region=(area, union([assignment.bboxes[place] for place in places])),
            )
        )
    names = [categories[label].id if label < len(categories) else None for label in labels.tolist()]
    numbers = zip(explained_masks, names, scores.tolist(), void_probs.tolist(), strict=True)
    tale = (
        ExplainedMask(query, *values, segment_id=segment_of_query.get(query))
        for query, values in enumerate(numbers)
    )
    return PanopticOutput(id_map=id_map, segments=tuple(segments), explained_masks=tuple(tale))


def _end_of_each(
    assignment: PixelAssignment, labels: Sequence[int], *, visible: int, overlap_threshold: float
) -> list[MaskStatus]:
    """Decide for each of the kept queries whether it lives, and if not, why."""

    def end(label: int, won: int, covered: int, held: int) -> MaskStatus:
        if label >= visible:
            return MaskStatus.HIDDEN
        if covered == 0:
            return MaskStatus.EMPTY
        if 0 in (won, held) or won / covered < overlap_threshold:
            return MaskStatus.OVERLAP
        return MaskStatus.SEGMENT

    return [
        end(*numbers)
        for numbers in zip(labels, assignment.won, assignment.covered, assignment.held, strict=True)
    ]


def _merge_stuff(
    ends: Sequence[MaskStatus], labels: Sequence[int], *, categories: Sequence[Category]
) -> list[list[int]]:
    """Entry i holds the places (among the kept) that make segment i + 1."""
    owners: list[list[int]] = []
    stuff: dict[int, list[int]] = {}
    for place, (end, label) in enumerate(zip(ends, labels, strict=True)):
        if end is not MaskStatus.SEGMENT:
            continue
        if label in stuff:
            stuff[label].append(place)
            continue
        owners.append([place])
        if not categories[label].is_thing:
            stuff[label] = owners[-1]
    return owners


def _id_map(
    assignment: PixelAssignment, owners: Sequence[Sequence[int]]
) -> Int32[np.ndarray, "height width"]:
    """Pixels that their holder could keep get its segment's id."""
    id_of_place = np.zeros(len(assignment.won) + 1, dtype=np.int32)  # its last entry serves NOBODY
    for id, owned in enumerate(owners, start=1):
        id_of_place[owned] = id
    return id_of_place[assignment.holder]
