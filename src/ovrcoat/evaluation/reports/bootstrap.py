"""Bootstrap over images: how far would a difference between two runs move with other images of this kind?

Tallies per image are rows of a sparse matrix; a resample is a row of weights (how often each image was
drawn), so that a thousand resamples are a few matrix products. Both runs get the same draws.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

CONFIDENCE = 95  # percent
AT_ONCE = 100  # resamples per matrix product: bounds the memory, 8 bytes × AT_ONCE × images

Tallies = Mapping[int, tuple[int | float, ...]]  # of one image, by category id
# sums of tallies (sample, category, tally), and groups as places of categories → figures in percent
# (sample, figure, column): a column per category, then the mean of each group; NaN where nothing counts
Figures = Callable[[np.ndarray, Sequence[Sequence[int]]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Resampled:
    """Figures of both runs over all images, and their differences (second minus first) in every resample."""

    first: Float[np.ndarray, "figure column"]
    second: Float[np.ndarray, "figure column"]
    differences: Float[np.ndarray, "sample figure column"]

    def interval(self, figure: int, column: int) -> tuple[float, float] | None:
        """The middle 95 % of the differences; None if no resample has one."""
        values = self.differences[:, figure, column]
        values = values[~np.isnan(values)]
        if not values.size:
            return None
        rest = (100 - CONFIDENCE) / 2
        low, high = np.percentile(values, (rest, 100 - rest)).tolist()
        return low, high


def tally_matrix(images: Sequence[Tallies], category_ids: Sequence[int], *, width: int) -> Any:
    """A sparse matrix, one row per image: `width` columns per category."""
    from scipy import sparse

    place_of = {category_id: place for place, category_id in enumerate(category_ids)}
    entries = [
        (row, width * place_of[category_id] + offset, value)
        for row, tallies in enumerate(images)
        for category_id, tally in tallies.items()
        for offset, value in enumerate(tally)
    ]
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csr_array(
        (np.array(values, dtype=np.float64), (np.array(rows, dtype=int), np.array(columns, dtype=int))),
        shape=(len(images), width * len(category_ids)),
    )


@dataclass(frozen=True, slots=True)
class Draws:
    """How many resamples, and where the random numbers start."""

    samples: int
    seed: int


def resample(
    first: Any, second: Any, figures: Callable[[np.ndarray], np.ndarray], *, draws: Draws
) -> Resampled:
    """Draw images with replacement, as many as there are; the same for both matrices (`tally_matrix`).

    `figures` takes sums of tallies (sample, column of the matrix).
    """
    images = first.shape[0]
    generator = np.random.default_rng(draws.seed)

    def evaluated(matrix: Any, weights: np.ndarray) -> np.ndarray:
        return figures(np.ascontiguousarray((matrix.T @ weights.T).T))

    once = np.ones((1, images))
    differences = []
    for start in range(0, draws.samples, AT_ONCE):
        drawn = generator.integers(images, size=(min(AT_ONCE, draws.samples - start), images))
        weights = np.stack([np.bincount(draw, minlength=images) for draw in drawn]).astype(np.float64)
        differences.append(evaluated(second, weights) - evaluated(first, weights))
    return Resampled(evaluated(first, once)[0], evaluated(second, once)[0], np.concatenate(differences))


def panoptic_figures(
    sums: Float[np.ndarray, "sample category 4"], groups: Sequence[Sequence[int]]
) -> Float[np.ndarray, "sample 3 column"]:
    """PQ, SQ, RQ from tp, fp, fn, IoU sum, by the rules of `PanopticQuality.report`."""
    tp, fp, fn, iou_sum = np.moveaxis(sums, -1, 0)
    size = tp + 0.5 * fp + 0.5 * fn
    counts = size > 0
    pq = _divided(iou_sum, size, where=counts)
    sq = np.where(counts, _divided(iou_sum, tp, where=tp > 0, otherwise=0.0), np.nan)
    rq = _divided(tp, size, where=counts)
    return 100 * np.stack([_with_groups(values, groups) for values in (pq, sq, rq)], axis=1)


def semantic_figures(
    sums: Float[np.ndarray, "sample category 3"], groups: Sequence[Sequence[int]]
) -> Float[np.ndarray, "sample 1 column"]:
    """IoU from pixels of intersection, truth, prediction, by the rules of `MeanIou.report`."""
    intersection, truth, predicted = np.moveaxis(sums, -1, 0)
    iou = _divided(intersection, truth + predicted - intersection, where=truth > 0)
    return 100 * _with_groups(iou, groups)[:, None]


def _with_groups(
    values: Float[np.ndarray, "sample category"], groups: Sequence[Sequence[int]]
) -> Float[np.ndarray, "sample column"]:
    """Append the mean of each group over what is defined."""
    columns = [values]
    for places in groups:
        members = values[:, list(places)]
        defined = ~np.isnan(members)
        count = defined.sum(axis=1)
        columns.append(_divided(np.where(defined, members, 0).sum(axis=1), count, where=count > 0)[:, None])
    return np.concatenate(columns, axis=1)


def _divided(
    values: np.ndarray, by: np.ndarray, *, where: np.ndarray, otherwise: float = np.nan
) -> np.ndarray:
    return np.divide(values, by, out=np.full(values.shape, otherwise), where=where)
