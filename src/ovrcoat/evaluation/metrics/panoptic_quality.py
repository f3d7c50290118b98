"""Panoptic quality, number for number that of the public COCO evaluation code (panopticapi).

One image's truth and prediction in, counts per category out; counts add up, images may come in any order.
The rules, where they surprise: an IoU must exceed 0.5; true void leaves the union; the true area is what the
JSON says, the predicted one is counted; a crowd is neither found nor missed; an unmatched prediction is
forgiven if more than half of it lies on void and on the crowd of its category (the last such crowd only);
stuff is not merged.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.metrics.groups import group_ids, mean
from ovrcoat.formats.annotations import TrueSegment
from ovrcoat.vocabulary import Category

VOID = 0  # in an id map: nobody's pixel
MATCH = 0.5  # an IoU above it can be reached by one pair only (Kirillov et al., Panoptic Segmentation, 2019)
FORGIVEN = 0.5  # of an unmatched prediction's area, on void and crowd (panopticapi)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one category: matched, predicted in vain, missed; and the sum of the matches' IoU."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou_sum: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.iou_sum + other.iou_sum)

    @property
    def pq(self) -> float | None:
        """Panoptic quality, 0..1; None where nothing counts."""
        return self.iou_sum / self._size if self._size else None

    @property
    def sq(self) -> float | None:
        """Segmentation quality: the matches' mean IoU, 0..1; 0 without any, None where nothing counts."""
        if not self._size:
            return None
        return self.iou_sum / self.tp if self.tp else 0.0

    @property
    def rq(self) -> float | None:
        """Recognition quality (F1 of segments), 0..1; None where nothing counts."""
        return self.tp / self._size if self._size else None

    @property
    def _size(self) -> float:
        return self.tp + 0.5 * self.fp + 0.5 * self.fn


@dataclass(frozen=True, slots=True)
class Match:
    """What became of one image's segments.

    Attributes:
        tallies: by category id; only categories with something to count.
        pairs: true segment id, predicted segment id, IoU of every match.
    """

    tallies: dict[int, Tally]
    pairs: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Pixel counts of one image, void included: by true id, by predicted id, and by pair of them."""

    true_areas: dict[int, int]
    predicted_areas: dict[int, int]
    intersections: dict[tuple[int, int], int]


def match_segments(
    truth: PanopticTruth, predicted_map: Int32[np.ndarray, "height width"], predicted: Mapping[int, int]
) -> Match:
    """Match one image's segments; `predicted` tells the category of every segment id of `predicted_map`.

    Raises:
        DatasetError: the sizes differ; `predicted_map` and `predicted` hold different ids; the truth's areas
            are too small to be true.
    """
    overlap = count_overlap(truth.id_map, predicted_map)
    if overlap.predicted_areas.keys() - {VOID} != predicted.keys() - {VOID} or VOID in predicted:
        odd = sorted((overlap.predicted_areas.keys() - {VOID}) ^ predicted.keys())
        raise DatasetError(
            f"segment ids {odd[:5]} are in only one of the predicted map and the list of predicted segments, "
            f"expected the same in both and {VOID} in neither: it is void; list every segment that has pixels"
        )
    return match_overlap(overlap, truth.segments, predicted=predicted)


def count_overlap(
    true_map: Int32[np.ndarray, "true_height true_width"],
    predicted_map: Int32[np.ndarray, "predicted_height predicted_width"],
) -> Overlap:
    """Count pixels per pair of ids (not negative).

    Ids seldom change along a row: only where one begins is looked at, and what lies between is counted by
    subtraction. Sorting a few thousand beginnings is far cheaper than sorting all pixels.

    Raises:
        DatasetError: the sizes differ.
    """
    if true_map.shape != predicted_map.shape:
        raise DatasetError(
            f"the prediction has {size_text(predicted_map)} pixels, the truth {size_text(true_map)}, "
            "expected the same size; predict at the size of the labels"
        )
    true_ids, predicted_ids = true_map.reshape(-1), predicted_map.reshape(-1)
    begins = np.ones(true_ids.size, dtype=np.bool_)
    np.not_equal(true_ids[1:], true_ids[:-1], out=begins[1:])
    begins[1:] |= predicted_ids[1:] != predicted_ids[:-1]
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=true_ids.size)
    keys = true_ids[starts].astype(np.int64) << 32 | predicted_ids[starts]
    pairs = np.unique(keys)  # that and a search take a third of the time of `return_inverse`
    places = np.searchsorted(pairs, keys)
    counts = np.bincount(places, weights=lengths, minlength=len(pairs))  # float64: exact below 2⁵³ pixels
    overlap = Overlap({}, {}, {})
    for true_id, predicted_id, count in zip(
        (pairs >> 32).tolist(), (pairs & 0xFFFF_FFFF).tolist(), counts.astype(np.int64).tolist(), strict=True
    ):
        overlap.true_areas[true_id] = overlap.true_areas.get(true_id, 0) + count
        overlap.predicted_areas[predicted_id] = overlap.predicted_areas.get(predicted_id, 0) + count
        overlap.intersections[true_id, predicted_id] = count
    return overlap


def match_overlap(
    overlap: Overlap, segments: Sequence[TrueSegment], *, predicted: Mapping[int, int]
) -> Match:
    """Match segments by their pixel counts; every id of `predicted` has pixels.

    Raises:
        DatasetError: an area of `segments` is so small that an IoU would exceed 1.
    """
    pairs = tuple(_matches(overlap, segments, predicted))
    found, used = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
    tallies: dict[int, Tally] = {}

    def count(category_id: int, one: Tally) -> None:
        tallies[category_id] = tallies.get(category_id, Tally()) + one

    for _, predicted_id, iou in pairs:
        count(predicted[predicted_id], Tally(tp=1, iou_sum=iou))
    crowds: dict[int, int] = {}
    for segment in segments:
        if segment.is_crowd:
            crowds[segment.category_id] = segment.id  # the last one stays, as in panopticapi
        elif segment.id not in found:
            count(segment.category_id, Tally(fn=1))
    for predicted_id, category_id in predicted.items():
        if predicted_id not in used and not _is_forgiven(overlap, predicted_id, crowds.get(category_id)):
            count(category_id, Tally(fp=1))
    return Match(tallies, pairs)


def _matches(
    overlap: Overlap, segments: Sequence[TrueSegment], predicted: Mapping[int, int]
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
                f"segment {true_id} of the truth has area {segment.area} in its JSON, but "
                f"{overlap.true_areas[true_id]} pixels, {intersection} of them in the predicted segment "
                f"{predicted_id}: the IoU would exceed 1; recount the areas from the pixels (--areas png)"
            )
        if intersection / union > MATCH:
            yield true_id, predicted_id, intersection / union


def _is_forgiven(overlap: Overlap, predicted_id: int, crowd_id: int | None) -> bool:
    """Whether more than half of an unmatched prediction lies where nobody can say that it is wrong."""
    excused = overlap.intersections.get((VOID, predicted_id), 0)
    if crowd_id is not None:
        excused += overlap.intersections.get((crowd_id, predicted_id), 0)
    return excused / overlap.predicted_areas[predicted_id] > FORGIVEN


def recounted(truth: PanopticTruth) -> PanopticTruth:
    """The same truth with areas counted from its pixels."""
    ids, counts = np.unique(truth.id_map, return_counts=True)
    return replace(
        truth,
        segments=with_areas(truth.segments, dict(zip(ids.tolist(), counts.tolist(), strict=True))),
    )


def with_areas(segments: Sequence[TrueSegment], areas: Mapping[int, int]) -> tuple[TrueSegment, ...]:
    """The same segments with their area in `areas`, 0 where there is none."""
    return tuple(replace(segment, area=areas.get(segment.id, 0)) for segment in segments)


class PanopticQuality:
    """Sums up the tallies of images.

    Attributes:
        tallies: so far, by category id.
    """

    def __init__(self) -> None:
        self.tallies: dict[int, Tally] = {}

    def add(self, tallies: Mapping[int, Tally]) -> None:
        """Count one more image."""
        for category_id, tally in tallies.items():
            self.tallies[category_id] = self.tallies.get(category_id, Tally()) + tally

    def report(
        self, categories: Sequence[Category], seen_ids: Collection[int] | None = None
    ) -> dict[str, Any]:
        """All figures as fractions (0..1) in a form that JSON can hold; None where nothing counts.

        `groups` are those of `groups.group_ids` with the number `n` of counted categories; `per_class` is by
        category id as text, in the order of `categories`; `not_counted` are the ids of the others.
        """
        tallies = {category.id: self.tallies.get(category.id, Tally()) for category in categories}
        counted = {id for id, tally in tallies.items() if tally.pq is not None}
        return {
            "unit": "fraction (0..1)",
            "groups": {
                name: {
                    figure: mean(getattr(tallies[id], figure) for id in ids) for figure in ("pq", "sq", "rq")
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
    """Width × height, as people say it."""
    height, width = id_map.shape
    return f"{width} × {height}"
