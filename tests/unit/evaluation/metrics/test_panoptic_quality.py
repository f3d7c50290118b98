"""The rules of panoptic quality, one by one and against a slow, plain definition."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.metrics.panoptic_quality import (
    PanopticQuality,
    Tally,
    count_overlap,
    match_segments,
    recount_areas,
)
from ovrcoat.formats.annotations import SegmentAnnotation
from ovrcoat.vocabulary import Category

CATEGORIES = (Category(("cat",), True, 1), Category(("dog",), True, 2), Category(("wall",), False, 3))


def id_map(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.int32)


def truth_of(ids: np.ndarray, *segments: SegmentAnnotation) -> PanopticTruth:
    """A ground truth with counted areas."""
    return recount_areas(PanopticTruth(ids, segments))


def segment(id: int, category_id: int, *, is_crowd: bool = False) -> SegmentAnnotation:
    return SegmentAnnotation(id, category_id, area=0, is_crowd=is_crowd)


def test_half_is_no_match_and_more_than_half_is():
    truth = truth_of(id_map([1, 1, 1, 0], [1, 0, 0, 0]), segment(1, 1))
    half = match_segments(truth, id_map([0, 0, 8, 0], [8, 0, 0, 0]), {8: 1})
    assert half.tallies == {1: Tally(fp=1, fn=1)}
    assert half.pairs == ()
    more = match_segments(truth, id_map([0, 8, 8, 0], [8, 0, 0, 0]), {8: 1})
    assert more.tallies == {1: Tally(tp=1, iou_sum=0.75)}
    assert more.pairs == ((1, 8, 0.75),)


def test_true_void_leaves_the_union():
    truth = truth_of(id_map([1, 1, 0, 0]), segment(1, 1))
    assert match_segments(truth, id_map([8, 8, 8, 8]), {8: 1}).pairs == ((1, 8, 1.0),)


def test_predicted_void_stays_in_the_union():
    truth = truth_of(id_map([1, 1, 1, 1]), segment(1, 1))
    assert match_segments(truth, id_map([8, 8, 8, 0]), {8: 1}).pairs == ((1, 8, 0.75),)


def test_a_wrong_category_is_missed_and_a_false_positive():
    truth = truth_of(id_map([1, 1]), segment(1, 1))
    assert match_segments(truth, id_map([8, 8]), {8: 2}).tallies == {1: Tally(fn=1), 2: Tally(fp=1)}


def test_a_crowd_is_neither_matched_nor_missed_and_ignores_its_category_only():
    truth = truth_of(id_map([1, 1, 1, 1]), segment(1, 1, is_crowd=True))
    assert match_segments(truth, id_map([8, 8, 9, 9]), {8: 1, 9: 2}).tallies == {2: Tally(fp=1)}


def test_of_two_crowds_of_a_category_the_last_counts():
    ids = id_map([1, 1, 2, 2])
    crowds = segment(1, 1, is_crowd=True), segment(2, 1, is_crowd=True)
    predicted = id_map([8, 8, 0, 0])
    assert match_segments(truth_of(ids, *crowds), predicted, {8: 1}).tallies == {1: Tally(fp=1)}
    assert match_segments(truth_of(ids, *crowds[::-1]), predicted, {8: 1}).tallies == {}


def test_exactly_half_on_void_is_not_ignored():
    truth = truth_of(id_map([0, 0, 1, 1, 1, 1, 1]), segment(1, 1))
    assert match_segments(truth, id_map([8, 8, 8, 8, 0, 0, 0]), {8: 2}).tallies[2] == Tally(fp=1)
    assert 2 not in match_segments(truth, id_map([8, 8, 8, 0, 0, 0, 0]), {8: 2}).tallies


def test_the_area_of_the_json_is_used_unless_recounted():
    truth = PanopticTruth(id_map([1, 1, 1, 1]), (SegmentAnnotation(1, 1, area=5),))
    assert match_segments(truth, id_map([8, 8, 8, 8]), {8: 1}).pairs == ((1, 8, 0.8),)
    assert match_segments(recount_areas(truth), id_map([8, 8, 8, 8]), {8: 1}).pairs == ((1, 8, 1.0),)


def test_a_segment_without_pixels_is_missed():
    truth = recount_areas(PanopticTruth(id_map([0, 0]), (SegmentAnnotation(4, 1, area=30),)))
    assert truth.segments[0].area == 0
    assert match_segments(truth, id_map([0, 0]), {}).tallies == {1: Tally(fn=1)}


def test_an_area_that_gives_an_iou_above_1_is_rejected():
    truth = PanopticTruth(id_map([1, 1, 1, 1]), (SegmentAnnotation(1, 1, area=3),))
    with pytest.raises(DatasetError, match=r"segment 1 .* area 3 .* 4 pixels, 4 of them .*--areas png"):
        match_segments(truth, id_map([8, 8, 8, 8]), {8: 1})


@pytest.mark.parametrize("predicted", [{}, {8: 1, 9: 1}, {8: 1, 0: 1}])
def test_ids_of_map_and_list_must_agree(predicted: dict[int, int]):
    truth = truth_of(id_map([1, 0]), segment(1, 1))
    with pytest.raises(DatasetError, match=r"segment ids \[\d\] are in only one of"):
        match_segments(truth, id_map([8, 0]), predicted)


def test_sizes_must_agree():
    truth = truth_of(id_map([1, 1]), segment(1, 1))
    with pytest.raises(DatasetError, match="prediction has 1 × 2 pixels, the ground truth 2 × 1"):
        match_segments(truth, id_map([8], [8]), {8: 1})


def test_overlap_counts_every_pair_also_with_large_ids():
    largest = (1 << 24) - 1
    overlap = count_overlap(id_map([largest, 0, largest], [0, 0, 0]), id_map([65_536, 1, 65_536], [1, 1, 1]))
    assert overlap.intersections == {(largest, 65_536): 2, (0, 1): 4}
    assert overlap.true_areas == {largest: 2, 0: 4}
    assert overlap.predicted_areas == {65_536: 2, 1: 4}


def test_metrics_of_a_tally():
    tally = Tally(tp=1, fp=1, iou_sum=0.9) + Tally(tp=1, fn=1, iou_sum=0.6)
    assert (tally.pq, tally.sq, tally.rq) == (0.5, 0.75, 2 / 3)
    assert (Tally(fn=1).pq, Tally(fn=1).sq, Tally(fn=1).rq) == (0, 0, 0)
    assert (Tally().pq, Tally().sq, Tally().rq) == (None, None, None)


def test_the_report_has_groups_and_counted_classes():
    quality = PanopticQuality()
    quality.add({1: Tally(tp=1, iou_sum=0.8)})
    quality.add({1: Tally(tp=1, iou_sum=0.6), 3: Tally(fn=1)})
    report = quality.report(CATEGORIES, {3})
    assert report["unit"] == "fraction (0..1)"
    assert report["groups"]["All"] == {
        "pq": pytest.approx(0.35),
        "sq": pytest.approx(0.35),
        "rq": 0.5,
        "n": 2,
    }
    assert report["groups"]["Seen_Things"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert list(report["per_class"]) == ["1", "3"]
    assert report["per_class"]["3"]["seen"] == 1
    assert report["not_counted"] == [2]
    assert "Seen" not in quality.report(CATEGORIES)["groups"]
    assert "seen" not in quality.report(CATEGORIES)["per_class"]["1"]


def plain_tallies(truth: PanopticTruth, predicted_map: np.ndarray, predicted: dict[int, int]) -> dict:
    """The definition with sets of pixels, slow and literal."""
    true_pixels, pixels = truth.id_map.ravel().tolist(), predicted_map.ravel().tolist()
    places = range(len(pixels))
    void = {place for place in places if true_pixels[place] == 0}
    masks = {id: {place for place in places if pixels[place] == id} for id in predicted}
    true_masks = {
        part.id: {place for place in places if true_pixels[place] == part.id} for part in truth.segments
    }
    counts: dict[int, Counter] = {}
    iou_sums: Counter = Counter()
    found, used = set(), set()
    for part in truth.segments:
        for id, category_id in predicted.items():
            if part.is_crowd or category_id != part.category_id:
                continue
            common = len(true_masks[part.id] & masks[id])
            iou = common / len(true_masks[part.id] | (masks[id] - void)) if common else 0
            if iou > 0.5:
                counts.setdefault(category_id, Counter())["tp"] += 1
                iou_sums[category_id] += iou
                found.add(part.id)
                used.add(id)
    crowds = {part.category_id: true_masks[part.id] for part in truth.segments if part.is_crowd}
    for part in truth.segments:
        if not part.is_crowd and part.id not in found:
            counts.setdefault(part.category_id, Counter())["fn"] += 1
    for id, category_id in predicted.items():
        ignored = len(masks[id] & (void | crowds.get(category_id, set())))
        if id not in used and 2 * ignored <= len(masks[id]):
            counts.setdefault(category_id, Counter())["fp"] += 1
    return {id: (count["tp"], count["fp"], count["fn"], iou_sums[id]) for id, count in counts.items()}


# true map, (id, category id, crowd?) of its segments, predicted map, categories by predicted id
Scene = tuple[np.ndarray, list[tuple[int, int, bool]], np.ndarray, dict[int, int]]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Small maps with void, crowds and predictions that resemble the ground truth."""
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    size = height * width
    ids = draw(st.lists(st.integers(0, 4), min_size=size, max_size=size))
    changes = draw(st.lists(st.sampled_from([None, None, None, 0, 1, 2, 3, 4]), min_size=size, max_size=size))
    true_map = np.array(ids, dtype=np.int32).reshape(height, width)
    mixed = [id if change is None else change for id, change in zip(ids, changes, strict=True)]
    predicted_map = np.array(mixed, dtype=np.int32).reshape(height, width)
    categories = draw(st.lists(st.integers(1, 3), min_size=10, max_size=10))
    crowds = draw(st.lists(st.booleans(), min_size=5, max_size=5))
    segments = [(id, categories[id], crowds[id] and categories[id] < 3) for id in sorted(set(ids) - {0})]
    agree = draw(st.booleans())
    predicted = {id: categories[id if agree else id + 5] for id in set(mixed) - {0}}
    return true_map, segments, predicted_map, predicted


def inputs_of(scene: Scene) -> tuple[PanopticTruth, np.ndarray, dict[int, int]]:
    """Inputs of the matching; not created while drawing, because the type checks use random numbers."""
    true_map, segments, predicted_map, predicted = scene
    parts = [segment(id, category_id, is_crowd=is_crowd) for id, category_id, is_crowd in segments]
    return truth_of(true_map, *parts), predicted_map, predicted


@given(scenes())
def test_results_equal_the_plain_definition(scene: Scene):
    expected = plain_tallies(*inputs_of(scene))
    tallies = match_segments(*inputs_of(scene)).tallies
    assert {id: (tally.tp, tally.fp, tally.fn) for id, tally in tallies.items()} == {
        id: values[:3] for id, values in expected.items()
    }
    assert {id: tally.iou_sum for id, tally in tallies.items()} == pytest.approx(
        {id: values[3] for id, values in expected.items()}
    )


@given(scenes(), st.permutations(range(1, 5)))
def test_segment_ids_do_not_matter(scene: Scene, order: list[int]):
    truth, predicted_map, predicted = inputs_of(scene)
    names = np.array([0, *(65_000 * id + 3 for id in order)], dtype=np.int32)
    renamed = {int(names[id]): category_id for id, category_id in predicted.items()}
    before, after = match_segments(*inputs_of(scene)), match_segments(truth, names[predicted_map], renamed)
    assert before.tallies.keys() == after.tallies.keys()
    for id, tally in before.tallies.items():
        other = after.tallies[id]
        assert (tally.tp, tally.fp, tally.fn) == (other.tp, other.fp, other.fn)
        assert tally.iou_sum == pytest.approx(other.iou_sum)


@given(scenes())
def test_the_ground_truth_matches_itself(scene: Scene):
    truth, _, _ = inputs_of(scene)
    without_crowds = PanopticTruth(
        truth.id_map, tuple(segment(part.id, part.category_id) for part in truth.segments)
    )
    own = {part.id: part.category_id for part in truth.segments}
    match = match_segments(recount_areas(without_crowds), truth.id_map, own)
    assert all(tally.pq == 1 for tally in match.tallies.values())
    assert len(match.pairs) == len(own)


@given(st.lists(scenes(), max_size=5), st.randoms())
def test_images_may_come_in_any_order(scene_list: list, random):
    tallies = [match_segments(*inputs_of(scene)).tallies for scene in scene_list]
    shuffled = list(tallies)
    random.shuffle(shuffled)
    one, other = PanopticQuality(), PanopticQuality()
    for tally in tallies:
        one.add(tally)
    for tally in shuffled:
        other.add(tally)
    first, second = one.report(CATEGORIES, {1}), other.report(CATEGORIES, {1})
    assert first["not_counted"] == second["not_counted"]
    for group, figures in first["groups"].items():
        assert figures == pytest.approx(second["groups"][group])
