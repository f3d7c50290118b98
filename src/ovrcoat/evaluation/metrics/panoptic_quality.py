"""Panoptic quality (PQ), equal to the public COCO evaluation code (panopticapi) to the last digit.

Each image is matched separately and gives counts per category. Counts are summed, so the order of the images
does not matter. Rules of panopticapi that are easy to miss:

- A match needs an IoU above 0.5, not equal to it.
- Ground-truth void pixels do not count towards the union.
- The area of a ground-truth segment is the one in its JSON; the area of a predicted segment is counted.
- A crowd segment is neither a match nor a miss.
- An unmatched prediction is not a false positive if more than half of it is on void or on the crowd segment
  of its category. If a category has several crowd segments, only the last one counts.
- Stuff segments of the same category are not merged.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.metrics.groups import group_ids, mean
from ovrcoat.formats.annotations import SegmentAnnotation
from ovrcoat.vocabulary import Category

VOID = 0  # value of void pixels in an id map
MATCH_IOU = 0.5  # above it, matches are unique (Kirillov et al., Panoptic Segmentation, 2019)
IGNORED_SHARE = 0.5  # of an unmatched prediction on void and crowd; above it, it does not count (panopticapi)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one category.

    Attributes:
        tp: Matched segments.
        fp: Predicted segments without a match.
        fn: Ground-truth segments without a match.
        iou_sum: Sum of the IoU of all matches.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou_sum: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.iou_sum + other.iou_sum)

    @property
    def pq(self) -> float | None:
        """Panoptic quality, 0..1; None if there is nothing to count."""
        return self.iou_sum / self._size if self._size else None

    @property
    def sq(self) -> float | None:
        """Segmentation quality: mean IoU of the matches, 0..1; 0 without matches, None if nothing counts."""
        if not self._size:
            return None
        return self.iou_sum / self.tp if self.tp else 0.0

    @property
    def rq(self) -> float | None:
        """Recognition quality (F1 of the segments), 0..1; None if there is nothing to count."""
        return self.tp / self._size if self._size else None

    @property
    def _size(self) -> float:
        return self.tp + 0.5 * self.fp + 0.5 * self.fn


@dataclass(frozen=True, slots=True)
class Match:
    """The matching of one image.

    Attributes:
        tallies: Counts by category id; categories with nothing to count are left out.
        pairs: Ground-truth segment id, predicted segment id and IoU of each match.
    """

    tallies: dict[int, Tally]
    pairs: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Pixel counts of one image: by ground-truth id, by predicted id, and by pair of ids. Includes void."""

    true_areas: dict[int, int]
    predicted_areas: dict[int, int]
    intersections: dict[tuple[int, int], int]


def match_segments(
    truth: PanopticTruth, predicted_map: Int32[np.ndarray, "height width"], predicted: Mapping[int, int]
) -> Match:
    """Match the segments of one image.

    Args:
        truth: Ground truth of the image.
        predicted_map: Predicted segment id of each pixel; 0 is void.
        predicted: Category id of each segment id in `predicted_map`.

    Raises:
        DatasetError: The sizes differ, `predicted_map` and `predicted` contain different ids, or a
            ground-truth area is smaller than the intersection with a prediction.
    """
    overlap = count_overlap(truth.id_map, predicted_map)
    if overlap.predicted_areas.keys() - {VOID} != predicted.keys() - {VOID} or VOID in predicted:
        odd = sorted((overlap.predicted_areas.keys() - {VOID}) ^ predicted.keys())
        raise DatasetError(
            f"segment ids {odd[:5]} are in only one of the predicted map and the list of predicted segments; "
            f"expected the same ids in both, without {VOID} (void): list every segment that has pixels"
        )
    return match_overlap(overlap, truth.segments, predicted=predicted)


def count_overlap(
    true_map: Int32[np.ndarray, "true_height true_width"],
    predicted_map: Int32[np.ndarray, "predicted_height predicted_width"],
) -> Overlap:
    """Count the pixels of each pair of ids; ids must not be negative.

    The maps are first run-length encoded, because ids rarely change along a row. Sorting a few thousand runs
    is much faster than sorting all pixels.

    Raises:
        DatasetError: The sizes differ.
    """
    if true_map.shape != predicted_map.shape:
        raise DatasetError(
            f"the prediction has {size_text(predicted_map)} pixels, the ground truth {size_text(true_map)}; "
            "expected the same size: predict at the size of the labels"
        )
    true_ids, predicted_ids = true_map.reshape(-1), predicted_map.reshape(-1)
    is_start = np.ones(true_ids.size, dtype=np.bool_)
    np.not_equal(true_ids[1:], true_ids[:-1], out=is_start[1:])
    is_start[1:] |= predicted_ids[1:] != predicted_ids[:-1]
    starts = np.flatnonzero(is_start)
    lengths = np.diff(starts, append=true_ids.size)
    keys = true_ids[starts].astype(np.int64) << 32 | predicted_ids[starts]
    pairs = np.unique(keys)  # with searchsorted, three times as fast as `return_inverse`
    indices = np.searchsorted(pairs, keys)
    counts = np.bincount(indices, weights=lengths, minlength=len(pairs))  # float64: exact below 2⁵³ pixels
    overlap = Overlap({}, {}, {})
    for true_id, predicted_id, count in zip(
        (pairs >> 32).tolist(), (pairs & 0xFFFF_FFFF).tolist(), counts.astype(np.int64).tolist(), strict=True
    ):
        overlap.true_areas[true_id] = overlap.true_areas.get(true_id, 0) + count
        overlap.predicted_areas[predicted_id] = overlap.predicted_areas.get(predicted_id, 0) + count
        overlap.intersections[true_id, predicted_id] = count
    return overlap


def match_overlap(
    overlap: Overlap, segments: Sequence[SegmentAnnotation], *, predicted: Mapping[int, int]
) -> Match:
    """Match the segments of one image by their pixel counts.

    Args:
        overlap: Pixel counts of the two id maps.
        segments: Ground-truth segments.
        predicted: Category id of each predicted segment id; each of them must have pixels.

    Raises:
        DatasetError: The area of a ground-truth segment is so small that an IoU would exceed 1.
    """
    pairs = tuple(_matches(overlap, segments, predicted))
    found, used = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    tallies: dict[int, Tally] = {}

    def count(category_id: int, tally: Tally) -> None:
        tallies[category_id] = tallies.get(category_id, Tally()) + tally

    for _, predicted_id, iou in pairs:
        count(predicted[predicted_id], Tally(tp=1, iou_sum=iou))
    crowds: dict[int, int] = {}
    for segment in segments:
        if segment.is_crowd:
            crowds[segment.category_id] = segment.id  # the last one replaces the others, as in panopticapi
        elif segment.id not in found:
            count(segment.category_id, Tally(fn=1))
    for predicted_id, category_id in predicted.items():
        if predicted_id not in used and not _is_ignored(overlap, predicted_id, crowds.get(category_id)):
            count(category_id, Tally(fp=1))
    return Match(tallies, pairs)


def _matches(
    overlap: Overlap, segments: Sequence[SegmentAnnotation], predicted: Mapping[int, int]
) -> Iterable[tuple[int, int, float]]:
    true_segments = {segment.id: segment for segment in segments if not segment.is_crowd}
    for (true_id, predicted_id), intersection in overlap.intersections.items():
        segment = true_segments.get(true_id)
        if segment is None or predicted.get(predicted_id) != segment.category_id:
            continue
        outside = (
            overlap.predicted_areas[predicted_id]
            - intersection
            - overlap.intersections.get((VOID, predicted_id), 0)
        )
        union = segment.area + outside
        if union < intersection:  # panopticapi would report an IoU above 1
            raise DatasetError(
                f"ground-truth segment {true_id} has area {segment.area} in its JSON, but "
                f"{overlap.true_areas[true_id]} pixels, {intersection} of them in the predicted segment "
                f"{predicted_id}: the IoU would exceed 1; count the areas from the pixels (--areas png)"
            )
        if intersection / union > MATCH_IOU:
            yield true_id, predicted_id, intersection / union


def _is_ignored(overlap: Overlap, predicted_id: int, crowd_id: int | None) -> bool:
    """Return whether more than half of an unmatched prediction is on void or on a crowd segment."""
    ignored = overlap.intersections.get((VOID, predicted_id), 0)
    if crowd_id is not None:
        ignored += overlap.intersections.get((crowd_id, predicted_id), 0)
    return ignored / overlap.predicted_areas[predicted_id] > IGNORED_SHARE


def recount_areas(truth: PanopticTruth) -> PanopticTruth:
    """Return a copy of the ground truth whose areas are counted from its pixels."""
    ids, counts = np.unique(truth.id_map, return_counts=True)
    return replace(
        truth,
        segments=with_areas(truth.segments, dict(zip(ids.tolist(), counts.tolist(), strict=True))),
    )


def with_areas(
    segments: Sequence[SegmentAnnotation], areas: Mapping[int, int]
) -> tuple[SegmentAnnotation, ...]:
    """Return copies of the segments with the areas in `areas` (by segment id); 0 for ids that it lacks."""
    return tuple(replace(segment, area=areas.get(segment.id, 0)) for segment in segments)


class PanopticQuality:
    """Sums the counts of many images.

    Attributes:
        tallies: Current sums by category id.
    """

    def __init__(self) -> None:
        self.tallies: dict[int, Tally] = {}

    def add(self, tallies: Mapping[int, Tally]) -> None:
        """Add the tallies of one image."""
        for category_id, tally in tallies.items():
            self.tallies[category_id] = self.tallies.get(category_id, Tally()) + tally

    def report(
        self, categories: Sequence[Category], seen_ids: Collection[int] | None = None
    ) -> dict[str, Any]:
        """Compute the metrics.

        Args:
            categories: All categories of the dataset.
            seen_ids: Ids of the seen categories; None leaves out the groups of seen and unseen categories.

        Returns:
            JSON-serializable dictionary of fractions (0..1), None where nothing counts:

            - `groups`: PQ, SQ and RQ of each group in `group_ids`, and the number `n` of its counted
              categories.
            - `per_class`: Counts and metrics by category id as text, in the order of `categories`.
            - `not_counted`: Ids of the categories with nothing to count.
        """
        tallies = {category.id: self.tallies.get(category.id, Tally()) for category in categories}
        counted = {id for id, tally in tallies.items() if tally.pq is not None}
        return {
            "unit": "fraction (0..1)",
            "groups": {
                name: {
                    metric: mean(getattr(tallies[id], metric) for id in ids) for metric in ("pq", "sq", "rq")
                }
                | {"n": len(counted.intersection(ids))}
                for name, ids in group_ids(categories, seen_ids).items()
            },
            "per_class": {
                str(category.id): _class_entry(category, tallies[category.id], seen_ids)
                for category in categories
                if category.id in counted
            },
            "not_counted": [category.id for category in categories if category.id not in counted],
        }


def _class_entry(category: Category, tally: Tally, seen_ids: Collection[int] | None) -> dict[str, Any]:
    kind = {"name": category.name, "isthing": int(category.is_thing)}
    seen = {} if seen_ids is None else {"seen": int(category.id in seen_ids)}
    counts = {"tp": tally.tp, "fp": tally.fp, "fn": tally.fn, "iou_sum": tally.iou_sum, "counted": True}
    return kind | seen | counts | {"pq": tally.pq, "sq": tally.sq, "rq": tally.rq}


def size_text(id_map: Int32[np.ndarray, "height width"]) -> str:
    """Return the size of a map as "width × height"."""
    height, width = id_map.shape
    return f"{width} × {height}"
