"""Where masks are lost: one small scene per outcome."""

import numpy as np
import pytest

from ovrcoat.data.truth import PanopticTruth
from ovrcoat.evaluation.metrics.error_analysis import ErrorAnalysis, Outcome, diagnose, region_map
from ovrcoat.evaluation.metrics.panoptic_quality import Match
from ovrcoat.formats.annotations import TrueSegment
from ovrcoat.postprocessing.mask_overlaps import Overlaps
from ovrcoat.postprocessing.mask_status import ExplainedMask, MaskStatus
from ovrcoat.results import PanopticResult
from ovrcoat.segmentation.postprocess import Explanation

CAT, DOG = 17, 18
TRUTH = PanopticTruth(
    id_map=np.array([[500, 500, 0], [500, 500, 0]], dtype=np.int32),
    segments=(TrueSegment(id=500, category_id=CAT, area=4),),
)
GOOD, BAD = 3, 1  # pixels that a mask shares with the segment of 4: IoU 0.75 and 0.25


def scene(*masks: tuple[int, MaskStatus, int | None]) -> tuple[Explanation, Overlaps]:
    """Masks as (pixels shared with the true segment, fate, category id)."""
    explained_masks = tuple(
        ExplainedMask(query, status, category_id, score=0.5, void=0.1)
        for query, (_, status, category_id) in enumerate(masks)
    )
    result = PanopticResult(np.zeros((2, 3), dtype=np.int32), (), ())
    shared = np.array([[pixels] for pixels, _, _ in masks], dtype=np.int64).reshape(-1, 1)
    return Explanation(result, explained_masks), Overlaps(shared=shared, regions=np.array([4]))


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([(BAD, MaskStatus.SEGMENT, CAT)], Outcome.NO_MASK),
        ([], Outcome.NO_MASK),
        ([(GOOD, MaskStatus.VOID, CAT)], Outcome.VOID),
        ([(GOOD, MaskStatus.VOID, CAT), (GOOD, MaskStatus.SEGMENT, DOG)], Outcome.VOID),
        ([(GOOD, MaskStatus.VOID, DOG)], Outcome.VOID_MISNAMED),
        ([(GOOD, MaskStatus.BELOW_THRESHOLD, CAT), (GOOD, MaskStatus.VOID, CAT)], Outcome.BELOW_THRESHOLD),
        ([(GOOD, MaskStatus.HIDDEN, None), (GOOD, MaskStatus.VOID, DOG)], Outcome.HIDDEN),
        ([(GOOD, MaskStatus.OVERLAP, CAT), (GOOD, MaskStatus.VOID, CAT)], Outcome.OVERLAP),
        ([(GOOD, MaskStatus.DUPLICATE, CAT)], Outcome.OVERLAP),
        ([(GOOD, MaskStatus.EMPTY, CAT)], Outcome.OVERLAP),
        ([(GOOD, MaskStatus.SEGMENT, CAT)], Outcome.OVERLAP),
        ([(GOOD, MaskStatus.SEGMENT, DOG)], Outcome.MISNAMED),
        ([(GOOD, MaskStatus.OVERLAP, DOG), (GOOD, MaskStatus.VOID, DOG)], Outcome.MISNAMED),
    ],
)
def test_a_lost_segment_has_one_reason(masks: list[tuple[int, MaskStatus, int | None]], expected: Outcome):
    explanation, overlaps = scene(*masks)
    assert diagnose(TRUTH, Match({}, ()), explanation, overlaps) == [(CAT, expected)]


def test_a_matched_segment_is_found_whatever_its_masks():
    explanation, overlaps = scene((BAD, MaskStatus.SEGMENT, CAT))
    assert diagnose(TRUTH, Match({}, ((500, 1, 0.8),)), explanation, overlaps) == [(CAT, Outcome.FOUND)]


def test_crowds_are_left_out():
    crowd = PanopticTruth(TRUTH.id_map, (TrueSegment(500, CAT, area=4, is_crowd=True),))
    explanation, overlaps = scene((GOOD, MaskStatus.VOID, CAT))
    assert diagnose(crowd, Match({}, ()), explanation, overlaps) == []


def test_regions_are_numbered_in_the_order_of_the_segments():
    ids = np.array([[9, 9, 0], [2, 7, 7]], dtype=np.int32)
    truth = PanopticTruth(ids, tuple(TrueSegment(id, CAT, area=1) for id in (2, 9)))
    assert region_map(truth).tolist() == [[1, 1, -1], [0, -1, -1]]


def test_report_counts_by_seen_and_unseen():
    lost = ErrorAnalysis()
    lost.add([(CAT, Outcome.FOUND), (CAT, Outcome.VOID)])
    lost.add([(DOG, "void")])  # as read from a journal
    report = lost.report(seen_ids=[CAT])
    void = next(row for row in report["rows"] if row["outcome"] == "void")
    assert void["counts"] == {"All": 2, "Seen": 1, "Unseen": 1}
    assert report["segments"] == {"All": 3, "Seen": 2, "Unseen": 1}
    assert report["per_category"] == {"17": {"found": 1, "void": 1}, "18": {"void": 1}}
    assert [row["outcome"] for row in report["rows"]] == [outcome.value for outcome in Outcome]


def test_without_seen_ids_there_is_one_group():
    lost = ErrorAnalysis()
    lost.add([(DOG, "found")])
    assert lost.report()["segments"] == {"All": 1}
