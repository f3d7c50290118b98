"""Scored masks of one photo → a panoptic map: every pixel belongs to one segment or to void.

Keep the masks that are something, give each pixel to the mask with the largest score × mask probability, drop
masks that lost too much of themselves, merge stuff (Mask2Former's procedure).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from ovrcoat.postprocessing.pixel_assignment import Claims, claim_pixels, union
from ovrcoat.postprocessing.duplicates import distinct
from ovrcoat.postprocessing.mask_status import Fate, MaskFate
from ovrcoat.postprocessing.scoring import class_probs
from ovrcoat.postprocessing.segments import describe
from ovrcoat.postprocessing.upsampling import PhotoSizes
from ovrcoat.results.segment import Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category


@dataclass(frozen=True, slots=True, eq=False)
class PanopticOutput:
    """Id map (0 void, segments 1..n), segments in the order of their ids, and the fate of each query."""

    id_map: Int32[np.ndarray, "height width"]
    segments: tuple[Segment, ...]
    fates: tuple[MaskFate, ...]


def panoptic(
    scored: ScoredMasks,
    sizes: PhotoSizes,
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
    fates = [Fate.BELOW_THRESHOLD if something else Fate.VOID for something in is_something.tolist()]
    kept = (is_something & (scores > object_mask_threshold)).nonzero()[:, 0]
    if duplicate_iou is not None:
        for query in kept.tolist():
            fates[query] = Fate.DUPLICATE  # those that stay get another fate below
        kept = kept[distinct(scored.mask_logits[kept], scores[kept], duplicate_iou=duplicate_iou)]

    claims = claim_pixels(scored.mask_logits[kept], scores[kept], sizes=sizes)
    queries, kept_labels = kept.tolist(), labels[kept].tolist()
    ends = _end_of_each(claims, kept_labels, visible=len(categories), overlap_threshold=overlap_threshold)
    for query, end in zip(queries, ends, strict=True):
        fates[query] = end
    owners = _merge_stuff(ends, kept_labels, categories=categories)
    id_map = _id_map(claims, owners)

    segments = []
    segment_of_query: dict[int, int] = {}
    for id, places in enumerate(owners, start=1):
        segment_of_query |= dict.fromkeys((queries[place] for place in places), id)
        area = sum(claims.held[place] for place in places)
        largest = max(places, key=claims.held.__getitem__)  # of merged stuff, the largest part speaks
        segments.append(
            describe(
                scored,
                queries[largest],
                id=id,
                category=categories[kept_labels[largest]],
                categories=categories,
                score=float(scores[queries[largest]]),
                region=(area, union([claims.boxes[place] for place in places])),
            )
        )
    names = [categories[label].id if label < len(categories) else None for label in labels.tolist()]
    numbers = zip(fates, names, scores.tolist(), void_probs.tolist(), strict=True)
    tale = (
        MaskFate(query, *values, segment_id=segment_of_query.get(query))
        for query, values in enumerate(numbers)
    )
    return PanopticOutput(id_map=id_map, segments=tuple(segments), fates=tuple(tale))


def _end_of_each(
    claims: Claims, labels: Sequence[int], *, visible: int, overlap_threshold: float
) -> list[Fate]:
    """Decide for each of the kept queries whether it lives, and if not, why."""

    def end(label: int, won: int, covered: int, held: int) -> Fate:
        if label >= visible:
            return Fate.HIDDEN
        if covered == 0:
            return Fate.EMPTY
        if 0 in (won, held) or won / covered < overlap_threshold:
            return Fate.OVERLAP
        return Fate.SEGMENT

    return [end(*numbers) for numbers in zip(labels, claims.won, claims.covered, claims.held, strict=True)]


def _merge_stuff(
    ends: Sequence[Fate], labels: Sequence[int], *, categories: Sequence[Category]
) -> list[list[int]]:
    """Entry i holds the places (among the kept) that make segment i + 1."""
    owners: list[list[int]] = []
    stuff: dict[int, list[int]] = {}
    for place, (end, label) in enumerate(zip(ends, labels, strict=True)):
        if end is not Fate.SEGMENT:
            continue
        if label in stuff:
            stuff[label].append(place)
            continue
        owners.append([place])
        if not categories[label].is_thing:
            stuff[label] = owners[-1]
    return owners


def _id_map(claims: Claims, owners: Sequence[Sequence[int]]) -> Int32[np.ndarray, "height width"]:
    """Pixels that their holder could keep get its segment's id."""
    id_of_place = np.zeros(len(claims.won) + 1, dtype=np.int32)  # its last entry serves NOBODY
    for id, owned in enumerate(owners, start=1):
        id_of_place[owned] = id
    return id_of_place[claims.holder]
