"""Bootstrap over images: how much would the difference between two runs vary with other images of the same
kind?

The counts per image are the rows of a sparse matrix. A resample is a row of weights that says how often each
image was drawn, so that a thousand resamples take a few matrix products. Both runs use the same resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

CONFIDENCE = 95  # percent
CHUNK_SIZE = 100  # resamples per matrix product; bounds the memory to 8 bytes × CHUNK_SIZE × images

Tallies = Mapping[int, tuple[int | float, ...]]  # counts of one image by category id
# Sums of counts (sample, category, count) and groups as category indices → metrics in percent (sample,
# metric, column). There is one column per category, then the mean of each group; NaN where nothing counts.
MetricFunction = Callable[[np.ndarray, Sequence[Sequence[int]]], np.ndarray]


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """Number of resamples, and the seed of the random number generator."""

    samples: int
    seed: int


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """Metrics of two runs in percent.

    Attributes:
        first: Metrics of the first run over all images.
        second: Metrics of the second run over all images.
        differences: Second minus first for each resample.
    """

    first: Float[np.ndarray, "metric column"]
    second: Float[np.ndarray, "metric column"]
    differences: Float[np.ndarray, "sample metric column"]

    def interval(self, metric: int, column: int) -> tuple[float, float] | None:
        """Return the central 95 % interval of the differences, or None if all of them are undefined."""
        values = self.differences[:, metric, column]
        values = values[~np.isnan(values)]
        if not values.size:
            return None
        rest = (100 - CONFIDENCE) / 2
        low, high = np.percentile(values, (rest, 100 - rest)).tolist()
        return low, high


def tally_matrix(images: Sequence[Tallies], category_ids: Sequence[int], *, width: int) -> Any:
    """Return the counts of all images as a sparse matrix: a row per image, `width` columns per category."""
    from scipy import sparse

    index_of = {category_id: index for index, category_id in enumerate(category_ids)}
    entries = [
        (row, width * index_of[category_id] + offset, value)
        for row, tallies in enumerate(images)
        for category_id, tally in tallies.items()
        for offset, value in enumerate(tally)
    ]
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csr_array(
        (np.array(values, dtype=np.float64), (np.array(rows, dtype=int), np.array(columns, dtype=int))),
        shape=(len(images), width * len(category_ids)),
    )


def bootstrap(
    first: Any, second: Any, compute: Callable[[np.ndarray], np.ndarray], *, settings: BootstrapSettings
) -> BootstrapResult:
    """Resample the images of two runs with replacement; each resample has as many images as the runs.

    Args:
        first: Counts of the first run, see `tally_matrix`.
        second: Counts of the second run on the same images.
        compute: Computes metrics (sample, metric, column) from sums of counts (sample, column of the matrix).
        settings: Number of resamples and seed.
    """
    images = first.shape[0]
    generator = np.random.default_rng(settings.seed)

    def evaluate(matrix: Any, weights: np.ndarray) -> np.ndarray:
        return compute(np.ascontiguousarray((matrix.T @ weights.T).T))

    once = np.ones((1, images))
    differences = []
    for start in range(0, settings.samples, CHUNK_SIZE):
        drawn = generator.integers(images, size=(min(CHUNK_SIZE, settings.samples - start), images))
        weights = np.stack([np.bincount(draw, minlength=images) for draw in drawn]).astype(np.float64)
        differences.append(evaluate(second, weights) - evaluate(first, weights))
    return BootstrapResult(evaluate(first, once)[0], evaluate(second, once)[0], np.concatenate(differences))


def panoptic_metrics(
    sums: Float[np.ndarray, "sample category 4"], groups: Sequence[Sequence[int]]
) -> Float[np.ndarray, "sample 3 column"]:
    """Compute PQ, SQ and RQ in percent from tp, fp, fn and IoU sum, as `PanopticQuality.report` does."""
    tp, fp, fn, iou_sum = np.moveaxis(sums, -1, 0)
    size = tp + 0.5 * fp + 0.5 * fn
    counts = size > 0
    pq = _divide(iou_sum, size, where=counts)
    sq = np.where(counts, _divide(iou_sum, tp, where=tp > 0, otherwise=0.0), np.nan)
    rq = _divide(tp, size, where=counts)
    return 100 * np.stack([_append_groups(values, groups) for values in (pq, sq, rq)], axis=1)


def semantic_metrics(
    sums: Float[np.ndarray, "sample category 3"], groups: Sequence[Sequence[int]]
) -> Float[np.ndarray, "sample 1 column"]:
    """Compute IoU in percent from pixels of intersection, ground truth and prediction, as `MeanIou` does."""
    intersection, truth, predicted = np.moveaxis(sums, -1, 0)
    iou = _divide(intersection, truth + predicted - intersection, where=truth > 0)
    return 100 * _append_groups(iou, groups)[:, None]


def _append_groups(
    values: Float[np.ndarray, "sample category"], groups: Sequence[Sequence[int]]
) -> Float[np.ndarray, "sample column"]:
    """Append the mean of the defined values of each group."""
    columns = [values]
    for indices in groups:
        members = values[:, list(indices)]
        defined = ~np.isnan(members)
        count = defined.sum(axis=1)
        columns.append(_divide(np.where(defined, members, 0).sum(axis=1), count, where=count > 0)[:, None])
    return np.concatenate(columns, axis=1)


def _divide(
    values: np.ndarray, by: np.ndarray, *, where: np.ndarray, otherwise: float = np.nan
) -> np.ndarray:
    return np.divide(values, by, out=np.full(values.shape, otherwise), where=where)
