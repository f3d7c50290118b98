"""Mean intersection over union (mIoU) of semantic maps.

Pixels of all images are accumulated in one confusion matrix. The results equal those of the published
evaluation (detectron2's `SemSegEvaluator`): pixels without ground truth are ignored, and a category
contributes to the means only if it has ground-truth pixels.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer

from ovrcoat.errors import DatasetError

MAX_CATEGORIES = 5_000  # as many as a vocabulary can have; the matrix then takes 200 MB
Cell = tuple[int, int, int]  # index of the ground-truth category, index of the predicted category, pixels


class MeanIou:
    """Accumulates a confusion matrix over images.

    Args:
        category_names: Names of the K categories. Semantic maps refer to them by index, 0..K-1.

    Attributes:
        matrix: Pixel counts, shape (K + 1, K). Rows are predicted categories, columns ground-truth
            categories. The last row counts ground-truth pixels without a predicted category.
    """

    def __init__(self, category_names: Sequence[str]) -> None:
        self._names = tuple(category_names)
        count = len(self._names)
        if count > MAX_CATEGORIES:
            raise DatasetError(
                f"{count:,} categories are too many for a confusion matrix, at most {MAX_CATEGORIES:,} are "
                "supported; give the number of values that the label maps have"
            )
        self.matrix: Int64[np.ndarray, "row column"] = np.zeros((count + 1, count), dtype=np.int64)

    def add(
        self, truth: Integer[np.ndarray, "height width"], predicted: Integer[np.ndarray, "_ _"]
    ) -> tuple[Cell, ...]:
        """Add one image.

        Args:
            truth: Ground-truth category index of each pixel; negative values are ignored.
            predicted: Predicted category index of each pixel. Values outside 0..K-1 count as missed pixels;
                ignoring them would reward a model that predicts nothing.

        Returns:
            The non-zero cells that were added, in a form that `add_cells` accepts.

        Raises:
            DatasetError: The maps differ in size, or `truth` contains an index of K or more.
        """
        if truth.shape != predicted.shape:
            raise DatasetError(
                f"the ground-truth map has {truth.shape[0]} × {truth.shape[1]} pixels (height × width), the "
                f"predicted map {predicted.shape[0]} × {predicted.shape[1]}; expected the same size: resize "
                "the prediction"
            )
        count = len(self._names)
        known = truth >= 0
        true, found = truth[known].astype(np.int64), predicted[known].astype(np.int64)
        if true.size and true.max() >= count:
            raise DatasetError(
                f"the ground-truth map contains {true.max()}, expected an index from 0 to {count - 1} for "
                f"the {count} categories, or a negative number for pixels to ignore"
            )
        found[(found < 0) | (found >= count)] = count
        pixels = np.bincount(found * count + true, minlength=self.matrix.size)
        self.matrix += pixels.reshape(self.matrix.shape)
        filled = np.flatnonzero(pixels)
        rows, columns = np.divmod(filled, max(count, 1))
        return tuple(zip(columns.tolist(), rows.tolist(), pixels[filled].tolist(), strict=True))

    def add_cells(self, cells: Iterable[Cell]) -> None:
        """Add an image that was counted before; `cells` is the return value of `add`."""
        for true, found, pixels in cells:
            self.matrix[found, true] += pixels

    def report(self) -> dict[str, Any]:
        """Compute the metrics.

        Returns:
            JSON-serializable dictionary in percent: `mIoU`, `fwIoU`, `mACC`, `pACC`, and the lists `iou` and
            `acc` in the order of the categories. Undefined values are None.
        """
        hits = np.diagonal(self.matrix).astype(np.float64)
        truth = self.matrix.sum(axis=0)
        predicted = self.matrix[:-1].sum(axis=1)
        has_truth = truth > 0
        iou, accuracy = np.full(len(hits), np.nan), np.full(len(hits), np.nan)
        accuracy[has_truth] = hits[has_truth] / truth[has_truth]
        iou[has_truth] = hits[has_truth] / (truth + predicted - hits)[has_truth]
        # without any ground truth the weighted sum is 0 and not undefined, as in the published evaluation
        weighted = float((iou[has_truth] * (truth[has_truth] / max(truth.sum(), 1))).sum())
        return {
            "unit": "percent (0..100)",
            "class_names": list(self._names),
            "mIoU": _mean_percent(iou[has_truth]),
            "fwIoU": 100 * weighted,
            "mACC": _mean_percent(accuracy[has_truth]),
            "pACC": 100 * float(hits.sum()) / int(truth.sum()) if has_truth.any() else None,
            "iou": _percent(iou),
            "acc": _percent(accuracy),
        }


def tallies_from_cells(
    cells: Iterable[Cell], *, category_ids: Sequence[int]
) -> dict[int, tuple[int, int, int]]:
    """Return the pixel counts of one image: category id → (intersection, ground truth, prediction)."""
    tallies: dict[int, list[int]] = {}
    for true, found, pixels in cells:
        tallies.setdefault(category_ids[true], [0, 0, 0])[1] += pixels
        if found < len(category_ids):
            tallies.setdefault(category_ids[found], [0, 0, 0])[2] += pixels
        if found == true:
            tallies[category_ids[true]][0] += pixels
    return {category_id: (tally[0], tally[1], tally[2]) for category_id, tally in tallies.items()}


def _mean_percent(values: np.ndarray) -> float | None:
    return 100 * float(values.sum()) / values.size if values.size else None


def _percent(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else 100 * value for value in values.tolist()]
