"""Error analysis: why each ground-truth segment was found or missed.

This is the analysis that motivates the paper. A missed segment has no good mask, or it has a good mask that
was rejected as void, scored below the threshold, lost its pixels to other masks, or was classified wrongly.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.truth import PanopticTruth, replace_ids
from ovrcoat.evaluation.metrics.panoptic_quality import Match
from ovrcoat.formats.annotations import SegmentAnnotation
from ovrcoat.postprocessing.mask_overlaps import Overlaps
from ovrcoat.postprocessing.mask_status import MaskOutcome, MaskStatus

GOOD_IOU = 0.5  # a mask is good if its IoU with the segment is above this value, the matching rule of PQ


class SegmentOutcome(StrEnum):
    """Outcome of a ground-truth segment: found, or the reason for the miss. Each segment has exactly one."""

    FOUND = "found"
    NO_MASK = "no mask"
    REJECTED_AS_VOID = "rejected as void"
    REJECTED_AS_VOID_MISCLASSIFIED = "rejected as void, misclassified"
    BELOW_THRESHOLD = "below threshold"
    BACKGROUND_CLASS = "background class"
    OVERLAP = "overlap"
    MISCLASSIFIED = "misclassified"


MEANINGS = {
    SegmentOutcome.FOUND: "matched by a predicted segment of its category (a true positive)",
    SegmentOutcome.NO_MASK: "no mask of the decoder has an IoU above 0.5 with the segment",
    SegmentOutcome.REJECTED_AS_VOID: (
        "a good mask with the correct category was rejected as void; COAT addresses this case"
    ),
    SegmentOutcome.REJECTED_AS_VOID_MISCLASSIFIED: (
        "all good masks were rejected as void, and their categories are wrong too"
    ),
    SegmentOutcome.BELOW_THRESHOLD: "a good mask with the correct category scored below the threshold",
    SegmentOutcome.BACKGROUND_CLASS: "the good mask was classified as a background class",
    SegmentOutcome.OVERLAP: (
        "a good mask with the correct category lost its pixels to other masks, or was merged with one"
    ),
    SegmentOutcome.MISCLASSIFIED: "all good masks have a wrong category",
}

# Outcome of a segment by the status of a good mask with the correct category
_OUTCOME_OF_STATUS = {
    MaskStatus.VOID: SegmentOutcome.REJECTED_AS_VOID,
    MaskStatus.BELOW_THRESHOLD: SegmentOutcome.BELOW_THRESHOLD,
    MaskStatus.DUPLICATE: SegmentOutcome.OVERLAP,
    MaskStatus.EMPTY: SegmentOutcome.OVERLAP,
    MaskStatus.OVERLAP: SegmentOutcome.OVERLAP,
    MaskStatus.SEGMENT: SegmentOutcome.OVERLAP,  # it is a segment but does not match: truncated or merged
}
_LATEST_FIRST = tuple(reversed(MaskStatus))

CategoryOutcome = tuple[int, SegmentOutcome]  # category id and outcome of a ground-truth segment


def region_map(truth: PanopticTruth) -> Int32[np.ndarray, "height width"]:
    """Return the index in `truth.segments` of each pixel's segment, -1 for void (see `mask_overlaps`)."""
    index_of = {segment.id: index for index, segment in enumerate(truth.segments)}
    return replace_ids(truth.id_map, index_of, otherwise=-1)


def segment_outcomes(
    truth: PanopticTruth, match: Match, mask_outcomes: Sequence[MaskOutcome], overlaps: Overlaps
) -> list[CategoryOutcome]:
    """Determine the outcome of each ground-truth segment of one image; crowd segments are left out.

    Args:
        truth: Ground truth of the image.
        match: Matching of the prediction with `truth`.
        mask_outcomes: All masks of the decoder with their status, by query.
        overlaps: Overlaps of all masks with the regions of `region_map(truth)`. They do not depend on the
            vocabulary or on γ.
    """
    found = {true_id for true_id, _, _ in match.pairs}
    is_good = overlaps.ious() > GOOD_IOU
    outcomes = []
    for index, segment in enumerate(truth.segments):
        if segment.is_crowd:
            continue
        good_masks = [mask_outcomes[query] for query in np.flatnonzero(is_good[:, index]).tolist()]
        outcome = SegmentOutcome.FOUND if segment.id in found else _miss_reason(segment, good_masks)
        outcomes.append((segment.category_id, outcome))
    return outcomes


def _miss_reason(segment: SegmentAnnotation, good_masks: Sequence[MaskOutcome]) -> SegmentOutcome:
    """Return why a segment was missed.

    If good masks with the correct category exist, the one that passed the most tests determines the reason.
    """
    if not good_masks:
        return SegmentOutcome.NO_MASK
    correct = [mask.status for mask in good_masks if mask.category_id == segment.category_id]
    for status in _LATEST_FIRST:
        if status in correct:
            return _OUTCOME_OF_STATUS[status]
    statuses = {mask.status for mask in good_masks}
    if statuses == {MaskStatus.VOID}:
        return SegmentOutcome.REJECTED_AS_VOID_MISCLASSIFIED
    if statuses <= {MaskStatus.VOID, MaskStatus.BACKGROUND}:
        return SegmentOutcome.BACKGROUND_CLASS
    return SegmentOutcome.MISCLASSIFIED


class ErrorAnalysis:
    """Counts segment outcomes over images."""

    def __init__(self) -> None:
        self._counts: Counter[CategoryOutcome] = Counter()

    def add(self, outcomes: Iterable[CategoryOutcome]) -> None:
        """Add the outcomes of one image."""
        self._counts.update(outcomes)

    def report(self, seen_ids: Collection[int] | None = None) -> dict[str, Any]:
        """Return the number of segments per outcome.

        Args:
            seen_ids: Ids of the seen categories; None leaves out the groups "Seen" and "Unseen".

        Returns:
            JSON-serializable dictionary: `rows` with the counts of each outcome by group, `segments` with the
            number of segments of each group, and `per_category` with the non-zero counts by category id as
            text.
        """
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
                for outcome in SegmentOutcome
            ],
            "segments": {
                name: sum(self._count(outcome, ids) for outcome in SegmentOutcome)
                for name, ids in groups.items()
            },
            "per_category": {
                str(id): {o.value: self._counts[id, o] for o in SegmentOutcome if self._counts[id, o]}
                for id in sorted(groups["All"])
            },
        }

    def _count(self, outcome: SegmentOutcome, category_ids: Collection[int]) -> int:
        return sum(self._counts[category_id, outcome] for category_id in category_ids)
