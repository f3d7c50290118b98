"""Scores semantic label maps in folders: pairs the files, checks them, and computes mIoU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from tqdm import tqdm

from ovrcoat.data.label_images import decode_values
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.metrics.mean_iou import MeanIou
from ovrcoat.issues import IssueList

SUFFIXES = (".png", ".tif", ".tiff")


def score_semantic(
    truth_dir: Path,
    prediction_dir: Path,
    *,
    category_names: Sequence[str],
    ignore_label: int,
    progress: bool = False,
) -> dict[str, Any]:
    """Score predicted label maps against ground-truth label maps.

    Files (PNG or TIFF) are paired by name without suffix. Pixel values are indices into `category_names`.

    Args:
        truth_dir: Folder of the ground-truth maps; subfolders are included.
        prediction_dir: Folder of the predicted maps; subfolders are included.
        category_names: Names of the categories, in the order of their pixel values.
        ignore_label: Value in ground-truth maps that marks pixels to ignore. In a predicted map, this value
            and every other value that is no index count as missed pixels and cause a warning.
        progress: Show a progress bar on a terminal.

    Returns:
        The dictionary of `MeanIou.report`, plus `ignore_label`, `n_images` and `issues`.

    Raises:
        DatasetError: There is nothing to score, a prediction is missing or has a different size, a map cannot
            be read, or a ground-truth map contains an invalid value. The message lists all errors.
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
            "all-pixels-ignored",
            "every ground-truth pixel has the ignore label, so nothing was evaluated; check the ignore label",
            example=f"ignore label {ignore_label}",
            severity="warning",
        )
    return metric.report() | {
        "ignore_label": ignore_label,
        "n_images": len(truths),
        "issues": [issue.to_dict() for issue in issues],
    }


def _check_pairs(truths: dict[str, Path], predictions: dict[str, Path], issues: IssueList) -> None:
    """Report an empty ground truth and maps without a counterpart."""
    if not truths:
        issues.add(
            "ground-truth-empty",
            "the ground-truth folder contains no PNG or TIFF, so nothing can be scored; check the path",
            example=f"{len(predictions)} predictions",
        )
    for stem in sorted(truths.keys() - predictions.keys()):
        issues.add(
            "prediction-missing",
            "an image has no prediction, so all its pixels would count as missed; write a map of the same "
            "name for every ground-truth map",
            example=truths[stem].name,
        )
    for stem in sorted(predictions.keys() - truths.keys()):
        issues.add(
            "prediction-without-truth",
            "a prediction has no ground-truth map and is not scored; check that both folders belong to the "
            "same dataset and split",
            example=predictions[stem].name,
            severity="warning",
        )


def _find_maps(folder: Path, issues: IssueList) -> dict[str, Path]:
    """Return the PNG and TIFF files below a folder by name without suffix, sorted by path."""
    if not folder.is_dir():
        issues.add(
            "folder-missing", "the folder of label maps does not exist; check the path", example=str(folder)
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            issues.add(
                "duplicate-name",
                "two label maps have the same name without folder and suffix, so the pairing is ambiguous; "
                "remove one of them, or score each folder separately",
                example=f"{found[path.stem]} and {path}",
            )
        found[path.stem] = path
    return found


def _read_map(path: Path, issues: IssueList) -> Int64[np.ndarray, "height width"] | None:
    """Return the values of a label map; report an issue and return None if it cannot be read."""
    try:
        return decode_values(path.read_bytes(), location=path.name).astype(np.int64)
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
    """Report different sizes and invalid values; `truth` is -1 at ignored pixels."""
    if truth.shape != predicted.shape:
        issues.add(
            "size-differs",
            "a predicted map and its ground-truth map differ in size, so their pixels cannot be compared; "
            "resize the prediction to the size of the image, without interpolation",
            example=f"{name}: ground truth {truth.shape[1]} × {truth.shape[0]}, "
            f"prediction {predicted.shape[1]} × {predicted.shape[0]} (width × height)",
        )
        return
    for value, pixels in _count_values_from(truth, categories):
        issues.add(
            "truth-label-out-of-range",
            f"a ground-truth map contains a value that is neither an index from 0 to {categories - 1} nor "
            "the ignore label; map the labels (subtract one, or use train ids), or pass the right number of "
            "categories",
            example=f"{name}: value {value} in {pixels} pixels",
        )
    for value, pixels in _count_values_from(np.where(truth >= 0, predicted, -1), categories):
        issues.add(
            "predicted-label-out-of-range",
            f"a predicted map contains a value above {categories - 1}, which is no category; these pixels "
            "count as missed (the published evaluation stops or ignores them)",
            example=f"{name}: value {value} in {pixels} pixels",
            severity="warning",
        )


def _count_values_from(values: Int64[np.ndarray, "_ _"], minimum: int) -> list[tuple[int, int]]:
    """Return each distinct value of at least `minimum` with its number of pixels."""
    found, pixels = np.unique(values[values >= minimum], return_counts=True)
    return list(zip(found.tolist(), pixels.tolist(), strict=True))
