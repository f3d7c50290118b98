"""Error analysis: one small scene per outcome."""

import numpy as np
import pytest

from ovrcoat.data.truth import PanopticTruth
from ovrcoat.evaluation.metrics.error_analysis import (
    ErrorAnalysis,
    SegmentOutcome,
    region_map,
    segment_outcomes,
)
from ovrcoat.evaluation.metrics.panoptic_quality import Match
from ovrcoat.formats.annotations import SegmentAnnotation
from ovrcoat.postprocessing.mask_overlaps import Overlaps
from ovrcoat.postprocessing.mask_status import MaskOutcome, MaskStatus

CAT, DOG = 17, 18
TRUTH = PanopticTruth(
    id_map=np.array([[500, 500, 0], [500, 500, 0]], dtype=np.int32),
    segments=(SegmentAnnotation(id=500, category_id=CAT, area=4),),
)
GOOD, BAD = 3, 1  # pixels that a mask shares with the segment of 4: IoU 0.75 and 0.25


def scene(*masks: tuple[int, MaskStatus, int | None]) -> tuple[tuple[MaskOutcome, ...], Overlaps]:
    """Masks as (pixels shared with the ground-truth segment, status, category id)."""
    mask_outcomes = tuple(
        MaskOutcome(query, status, category_id, category="a name", score=0.5, void=0.1)
        for query, (_, status, category_id) in enumerate(masks)
    )
    shared = np.array([[pixels] for pixels, _, _ in masks], dtype=np.int64).reshape(-1, 1)
    return mask_outcomes, Overlaps(shared=shared, regions=np.array([4]))


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([(BAD, MaskStatus.SEGMENT, CAT)], SegmentOutcome.NO_MASK),
        ([], SegmentOutcome.NO_MASK),
        ([(GOOD, MaskStatus.VOID, CAT)], SegmentOutcome.REJECTED_AS_VOID),
        ([(GOOD, MaskStatus.VOID, CAT), (GOOD, MaskStatus.SEGMENT, DOG)], SegmentOutcome.REJECTED_AS_VOID),
        ([(GOOD, MaskStatus.VOID, DOG)], SegmentOutcome.REJECTED_AS_VOID_MISCLASSIFIED),
        (
            [(GOOD, MaskStatus.BELOW_THRESHOLD, CAT), (GOOD, MaskStatus.VOID, CAT)],
            SegmentOutcome.BELOW_THRESHOLD,
        ),
        (
            [(GOOD, MaskStatus.BACKGROUND, None), (GOOD, MaskStatus.VOID, DOG)],
            SegmentOutcome.BACKGROUND_CLASS,
        ),
        ([(GOOD, MaskStatus.OVERLAP, CAT), (GOOD, MaskStatus.VOID, CAT)], SegmentOutcome.OVERLAP),
        ([(GOOD, MaskStatus.DUPLICATE, CAT)], SegmentOutcome.OVERLAP),
        ([(GOOD, MaskStatus.EMPTY, CAT)], SegmentOutcome.OVERLAP),
        ([(GOOD, MaskStatus.SEGMENT, CAT)], SegmentOutcome.OVERLAP),
        ([(GOOD, MaskStatus.SEGMENT, DOG)], SegmentOutcome.MISCLASSIFIED),
        ([(GOOD, MaskStatus.OVERLAP, DOG), (GOOD, MaskStatus.VOID, DOG)], SegmentOutcome.MISCLASSIFIED),
    ],
)
def test_a_missed_segment_has_one_reason(
    masks: list[tuple[int, MaskStatus, int | None]], expected: SegmentOutcome
):
    mask_outcomes, overlaps = scene(*masks)
    assert segment_outcomes(TRUTH, Match({}, ()), mask_outcomes, overlaps) == [(CAT, expected)]


def test_a_matched_segment_is_found_regardless_of_its_masks():
    mask_outcomes, overlaps = scene((BAD, MaskStatus.SEGMENT, CAT))
    assert segment_outcomes(TRUTH, Match({}, ((500, 1, 0.8),)), mask_outcomes, overlaps) == [
        (CAT, SegmentOutcome.FOUND)
    ]


def test_crowds_are_left_out():
    crowd = PanopticTruth(TRUTH.id_map, (SegmentAnnotation(500, CAT, area=4, is_crowd=True),))
    mask_outcomes, overlaps = scene((GOOD, MaskStatus.VOID, CAT))
    assert segment_outcomes(crowd, Match({}, ()), mask_outcomes, overlaps) == []


def test_regions_are_numbered_in_the_order_of_the_segments():
    ids = np.array([[9, 9, 0], [2, 7, 7]], dtype=np.int32)
    truth = PanopticTruth(ids, tuple(SegmentAnnotation(id, CAT, area=1) for id in (2, 9)))
    assert region_map(truth).tolist() == [[1, 1, -1], [0, -1, -1]]


def test_report_counts_by_seen_and_unseen():
    analysis = ErrorAnalysis()
    analysis.add([(CAT, SegmentOutcome.FOUND), (CAT, SegmentOutcome.REJECTED_AS_VOID)])
    analysis.add([(DOG, SegmentOutcome("rejected as void"))])  # by value, as read from a journal
    report = analysis.report(seen_ids=[CAT])
    void = next(row for row in report["rows"] if row["outcome"] == "rejected as void")
    assert void["counts"] == {"All": 2, "Seen": 1, "Unseen": 1}
    assert report["segments"] == {"All": 3, "Seen": 2, "Unseen": 1}
    assert report["per_category"] == {
        "17": {"found": 1, "rejected as void": 1},
        "18": {"rejected as void": 1},
    }
    assert [row["outcome"] for row in report["rows"]] == [outcome.value for outcome in SegmentOutcome]


def test_without_seen_ids_there_is_one_group():
    analysis = ErrorAnalysis()
    analysis.add([(DOG, SegmentOutcome.FOUND)])
    assert analysis.report()["segments"] == {"All": 1}
