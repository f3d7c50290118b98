"""Where masks are lost: for every true segment, how far the best mask for it got.

The diagnosis that the paper is built on. A true segment that is not found had no good mask; or it had one,
which was thrown away as void, fell below the score threshold, lost its pixels to others, or got a wrong name.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.truth import PanopticTruth, replace_ids
from ovrcoat.evaluation.metrics.panoptic_quality import Match
from ovrcoat.formats.annotations import TrueSegment
from ovrcoat.postprocessing.mask_overlaps import Overlaps
from ovrcoat.postprocessing.mask_status import ExplainedMask, MaskStatus
from ovrcoat.segmentation.postprocess import Explanation

GOOD_IOU = 0.5  # a mask is good if its IoU is above this: the rule by which PQ calls a segment found


class Outcome(StrEnum):
    """What became of a true segment; exactly one of these."""

    FOUND = "found"
    NO_MASK = "no mask"
    VOID = "void"
    VOID_MISNAMED = "void, misnamed"
    BELOW_THRESHOLD = "below threshold"
    HIDDEN = "background class"
    OVERLAP = "overlap"
    MISNAMED = "misnamed"


MEANINGS = {
    Outcome.FOUND: "matched by a segment of its category (a true positive)",
    Outcome.NO_MASK: "no mask of the decoder has an IoU above 0.5 with it",
    Outcome.VOID: "a good mask with the right name was thrown away as void: what COAT is for",
    Outcome.VOID_MISNAMED: "its good masks were thrown away as void, and had wrong names too",
    Outcome.BELOW_THRESHOLD: "a good mask with the right name fell below the score threshold",
    Outcome.HIDDEN: "a hidden background word took its good mask",
    Outcome.OVERLAP: "a good mask with the right name lost its pixels to other masks, or was merged away",
    Outcome.MISNAMED: "its good masks have wrong names",
}

# How a good mask with the right name ends, in the order of the way.
_RIGHTLY_NAMED = {
    MaskStatus.VOID: Outcome.VOID,
    MaskStatus.BELOW_THRESHOLD: Outcome.BELOW_THRESHOLD,
    MaskStatus.DUPLICATE: Outcome.OVERLAP,
    MaskStatus.EMPTY: Outcome.OVERLAP,
    MaskStatus.OVERLAP: Outcome.OVERLAP,
    MaskStatus.SEGMENT: Outcome.OVERLAP,  # a segment, but cut, or merged with others: it does not match
}
_FARTHEST_FIRST = tuple(reversed(MaskStatus))

Diagnosis = tuple[int, Outcome]  # category id of a true segment, and what became of it


def region_map(truth: PanopticTruth) -> Int32[np.ndarray, "height width"]:
    """For `EncodedImage.overlaps`: per pixel the place of its segment in `truth.segments`, -1 for void."""
    place_of = {segment.id: place for place, segment in enumerate(truth.segments)}
    return replace_ids(truth.id_map, place_of, otherwise=-1)


def diagnose(
    truth: PanopticTruth, match: Match, explanation: Explanation, overlaps: Overlaps
) -> list[Diagnosis]:
    """Say of each true segment (crowds left out) what became of it.

    `overlaps` are those of the regions of `region_map(truth)`; they depend on no word and no γ.
    """
    found = {true_id for true_id, _, _ in match.pairs}
    good = overlaps.ious() > GOOD_IOU
    diagnoses = []
    for place, segment in enumerate(truth.segments):
        if segment.is_crowd:
            continue
        explained_masks = [explanation.explained_masks[query] for query in np.flatnonzero(good[:, place])]
        outcome = Outcome.FOUND if segment.id in found else _outcome(segment, explained_masks)
        diagnoses.append((segment.category_id, outcome))
    return diagnoses


def _outcome(segment: TrueSegment, good: Sequence[ExplainedMask]) -> Outcome:
    """Why a segment is not found: the mask with the right name that got farthest says it, if there is one."""
    if not good:
        return Outcome.NO_MASK
    rightly_named = [mask.status for mask in good if mask.category_id == segment.category_id]
    for status in _FARTHEST_FIRST:
        if status in rightly_named:
            return _RIGHTLY_NAMED[status]
    explained_masks = {mask.status for mask in good}
    if explained_masks == {MaskStatus.VOID}:
        return Outcome.VOID_MISNAMED
    if explained_masks <= {MaskStatus.VOID, MaskStatus.HIDDEN}:
        return Outcome.HIDDEN
    return Outcome.MISNAMED


class ErrorAnalysis:
    """Counts diagnoses over photos."""

    def __init__(self) -> None:
        self._counts: Counter[Diagnosis] = Counter()

    def add(self, diagnoses: Iterable[tuple[int, str]]) -> None:
        """Count those of one image; outcomes may be plain text, as a journal has them."""
        self._counts.update((category_id, Outcome(outcome)) for category_id, outcome in diagnoses)

    def report(self, seen_ids: Collection[int] | None = None) -> dict[str, Any]:
        """Counts per outcome: over all true segments, over seen and unseen categories, and per category."""
        groups: dict[str, set[int]] = {"All": {category_id for category_id, _ in self._counts}}
        if seen_ids is not None:
            groups |= {"Seen": groups["All"] & set(seen_ids), "Unseen": groups["All"] - set(seen_ids)}
        return {
            "rows": [
                {
                    "outcome": outcome.value,
                    "meaning": MEANINGS[outcome],
                    "counts": {name: self._count(outcome, ids) for name, ids in groups.items()},
                }
                for outcome in Outcome
            ],
            "segments": {
                name: sum(self._count(outcome, ids) for outcome in Outcome) for name, ids in groups.items()
            },
            "per_category": {
                str(id): {o.value: self._counts[id, o] for o in Outcome if self._counts[id, o]}
                for id in sorted(groups["All"])
            },
        }

    def _count(self, outcome: Outcome, category_ids: Collection[int]) -> int:
        return sum(self._counts[category_id, outcome] for category_id in category_ids)
