"""Mean intersection over union of semantic maps: pixels are counted, over all images, into one matrix.

The numbers are those of the published evaluation (detectron2's SemSegEvaluator): pixels without truth are
left out; a category counts in the means only if it has true pixels.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer
from tqdm import tqdm

from ovrcoat.data.label_images import decode_values
from ovrcoat.errors import DatasetError
from ovrcoat.issues import IssueList

SUFFIXES = (".png", ".tif", ".tiff")
Cell = tuple[int, int, int]  # position of the true category, of the predicted one, pixels


class MeanIou:
    """Counts pixels by true and predicted category; all categories are positions 0..K-1 in `category_names`.

    Attributes:
        matrix: rows are predicted categories, columns true ones; the last row holds true pixels that got no
            category.
    """

    def __init__(self, category_names: Sequence[str]) -> None:
        self._names = tuple(category_names)
        count = len(self._names)
        self.matrix: Int64[np.ndarray, "row column"] = np.zeros((count + 1, count), dtype=np.int64)

    def add(
        self, truth: Integer[np.ndarray, "height width"], predicted: Integer[np.ndarray, "_ _"]
    ) -> tuple[Cell, ...]:
        """Count one image; what was counted also goes out, for a journal.

        `truth` is negative where nobody knows. A prediction outside 0..K-1 is no category: its pixels are
        missed, not left out, or saying nothing would pay.

        Raises:
            DatasetError: the maps differ in size, or the truth names a category that there is not.
        """
        if truth.shape != predicted.shape:
            raise DatasetError(
                f"the true map has {truth.shape[0]} × {truth.shape[1]} pixels (height × width), the "
                f"predicted one {predicted.shape[0]} × {predicted.shape[1]}; expected one size: resize the "
                "prediction"
            )
        count = len(self._names)
        known = truth >= 0
        true, found = truth[known].astype(np.int64), predicted[known].astype(np.int64)
        if true.size and true.max() >= count:
            raise DatasetError(
                f"the true map holds {true.max()}, expected positions 0 to {count - 1} of the {count} "
                "categories, or negative numbers where nobody knows"
            )
        found[(found < 0) | (found >= count)] = count
        pixels = np.bincount(found * count + true, minlength=self.matrix.size)
        self.matrix += pixels.reshape(self.matrix.shape)
        filled = np.flatnonzero(pixels)
        rows, columns = np.divmod(filled, max(count, 1))
        return tuple(zip(columns.tolist(), rows.tolist(), pixels[filled].tolist(), strict=True))

    def add_cells(self, cells: Iterable[Cell]) -> None:
        """Count again what `add` gave."""
        for true, found, pixels in cells:
            self.matrix[found, true] += pixels

    def report(self) -> dict[str, Any]:
        """The four means in percent, and IoU and accuracy per category; None where nothing is defined."""
        hits = np.diagonal(self.matrix).astype(np.float64)
        truth = self.matrix.sum(axis=0)
        predicted = self.matrix[:-1].sum(axis=1)
        has_truth = truth > 0
        iou, accuracy = np.full(len(hits), np.nan), np.full(len(hits), np.nan)
        accuracy[has_truth] = hits[has_truth] / truth[has_truth]
        iou[has_truth] = hits[has_truth] / (truth + predicted - hits)[has_truth]
        # an empty weighted sum is 0, not undefined: so the published evaluation has it
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


def tallies_of(cells: Iterable[Cell], *, category_ids: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """What one image adds per category id: pixels of the intersection, of the truth, of the prediction."""
    tallies: dict[int, list[int]] = {}
    for true, found, pixels in cells:
        tallies.setdefault(category_ids[true], [0, 0, 0])[1] += pixels
        if found < len(category_ids):
            tallies.setdefault(category_ids[found], [0, 0, 0])[2] += pixels
        if found == true:
            tallies[category_ids[true]][0] += pixels
    return {category_id: (tally[0], tally[1], tally[2]) for category_id, tally in tallies.items()}


def score_semantic(
    truth_dir: Path,
    prediction_dir: Path,
    *,
    category_names: Sequence[str],
    ignore_label: int,
    progress: bool = False,
) -> dict[str, Any]:
    """Score label maps (PNG, TIFF) that pair by their names without suffix.

    Values are positions in `category_names`; `ignore_label` in a TRUE map marks what nobody knows. A
    predicted value that is no position (the ignore label too) is counted as missed, with a warning. The
    result is `MeanIou.report`, the number of images (`n_images`) and the findings.

    Raises:
        DatasetError: there is nothing to score, or a fault would make the numbers meaningless: a prediction
            is missing or has another size, a map cannot be read, a true map holds a value that is neither a
            position nor the ignore label. All faults at once.
    """
    issues = IssueList()
    truths, predictions = (_find_maps(folder, issues) for folder in (truth_dir, prediction_dir))
    _check_pairs(truths, predictions, issues)
    metric = MeanIou(category_names)
    paired = [stem for stem in truths if stem in predictions]
    for stem in tqdm(paired, unit="image", disable=None if progress else True):
        truth, predicted = (_read_map(files[stem], issues) for files in (truths, predictions))
        if truth is not None and predicted is not None:
            truth[truth == ignore_label] = -1
            _check_values(stem, truth, predicted, categories=len(category_names), issues=issues)
            if not issues.with_severity("error"):
                metric.add(truth, predicted)
    issues.raise_errors("the semantic maps")
    if not metric.matrix.any():
        issues.add(
            "everything-ignored",
            "every pixel of the truth has the ignore label: nothing was evaluated; check the ignore label",
            example=f"ignore label {ignore_label}",
            severity="warning",
        )
    return metric.report() | {
        "ignore_label": ignore_label,
        "n_images": len(truths),
        "issues": [issue.to_dict() for issue in issues],
    }


def _check_pairs(truths: dict[str, Path], predictions: dict[str, Path], issues: IssueList) -> None:
    """Whether there is a truth at all, and what has no partner."""
    if not truths:
        issues.add(
            "no-true-maps",
            "the folder of the truth holds no PNG or TIFF: nothing can be scored; check the path",
            example=f"{len(predictions)} predictions",
        )
    for stem in sorted(truths.keys() - predictions.keys()):
        issues.add(
            "prediction-missing",
            "an image has no prediction: it would have to count as missed altogether; write a map of the "
            "same name for every photo of the truth",
            example=truths[stem].name,
        )
    for stem in sorted(predictions.keys() - truths.keys()):
        issues.add(
            "prediction-without-truth",
            "a prediction belongs to no photo of the truth and is not scored: check that both folders are of "
            "one data set and split",
            example=predictions[stem].name,
            severity="warning",
        )


def _find_maps(folder: Path, issues: IssueList) -> dict[str, Path]:
    """The PNG and TIFF files in a folder and below, by name without suffix, sorted."""
    if not folder.is_dir():
        issues.add(
            "folder-missing", "there is no such folder of label maps; check the path", example=str(folder)
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            issues.add(
                "name-twice",
                "two label maps have the same name without folder and suffix, so which belongs to the image "
                "is left open; remove one, or score folder by folder",
                example=f"{found[path.stem]} and {path}",
            )
        found[path.stem] = path
    return found


def _read_map(path: Path, issues: IssueList) -> Int64[np.ndarray, "height width"] | None:
    """The numbers in a label map; None if it cannot be read, which is told."""
    try:
        return decode_values(path.read_bytes(), place=path.name).astype(np.int64)
    except (OSError, DatasetError) as error:
        issues.add("map-unreadable", "a label map cannot be read; write it again", example=str(error))
        return None


def _check_values(
    name: str,
    truth: Int64[np.ndarray, "_ _"],
    predicted: Int64[np.ndarray, "_ _"],
    *,
    categories: int,
    issues: IssueList,
) -> None:
    """Values that mean nothing; `truth` is -1 where nobody knows."""
    if truth.shape != predicted.shape:
        issues.add(
            "size-differs",
            "a predicted map has another size than the true one: its pixels cannot be compared; resize it to "
            "the image's size, without interpolation",
            example=f"{name}: truth {truth.shape[1]} × {truth.shape[0]}, "
            f"prediction {predicted.shape[1]} × {predicted.shape[0]} (width × height)",
        )
        return
    for value, pixels in _values_from(truth, categories):
        issues.add(
            "true-label-out-of-range",
            f"a true map holds a value that is neither a position 0 to {categories - 1} nor the ignore "
            "label: map the labels (shift by one, choose train ids) or give the right number of categories",
            example=f"{name}: value {value} in {pixels} pixels",
        )
    for value, pixels in _values_from(np.where(truth >= 0, predicted, -1), categories):
        issues.add(
            "predicted-label-out-of-range",
            f"a prediction holds a value above {categories - 1}, which is no category: these pixels are "
            "counted as missed (the published evaluation stops or leaves them out)",
            example=f"{name}: value {value} in {pixels} pixels",
            severity="warning",
        )


def _values_from(values: Int64[np.ndarray, "_ _"], lowest: int) -> list[tuple[int, int]]:
    """The distinct values that are `lowest` or more, with their pixels."""
    found, pixels = np.unique(values[values >= lowest], return_counts=True)
    return list(zip(found.tolist(), pixels.tolist(), strict=True))


def _mean_percent(values: np.ndarray) -> float | None:
    return 100 * float(values.sum()) / values.size if values.size else None


def _percent(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else 100 * value for value in values.tolist()]
