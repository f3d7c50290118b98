"""Scores semantic label maps in folders: pairs the files, checks them, and computes mIoU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from tqdm import tqdm

from ovrcoat.data.label_images import LABEL_SUFFIXES, decode_values
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.semantic_issues import SEMANTIC_ISSUES
from ovrcoat.evaluation.metrics.mean_iou import MeanIou
from ovrcoat.issues import IssueList
from ovrcoat.system.input_files import LABELS, read_input


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
    issues = IssueList(SEMANTIC_ISSUES)
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
        issues.report("all-pixels-ignored", f"ignore label {ignore_label}")
    return metric.report() | {
        "ignore_label": ignore_label,
        "n_images": len(truths),
        "issues": [issue.to_dict() for issue in issues],
    }


def _check_pairs(truths: dict[str, Path], predictions: dict[str, Path], issues: IssueList) -> None:
    """Report an empty ground truth and maps without a counterpart."""
    if not truths:
        issues.report("ground-truth-empty", f"{len(predictions)} predictions")
    for stem in sorted(truths.keys() - predictions.keys()):
        issues.report("prediction-missing", truths[stem].name)
    for stem in sorted(predictions.keys() - truths.keys()):
        issues.report("prediction-without-truth", predictions[stem].name)


def _find_maps(folder: Path, issues: IssueList) -> dict[str, Path]:
    """Return the PNG and TIFF files below a folder by name without suffix, sorted by path."""
    if not folder.is_dir():
        issues.report("folder-missing", str(folder))
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in LABEL_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            issues.report("duplicate-name", f"{found[path.stem]} and {path}")
        found[path.stem] = path
    return found


def _read_map(path: Path, issues: IssueList) -> Int64[np.ndarray, "height width"] | None:
    """Return the values of a label map; report an issue and return None if it cannot be read."""
    try:
        return decode_values(read_input(path, LABELS), location=path.name).astype(np.int64)
    except (OSError, DatasetError) as error:
        issues.report("map-unreadable", str(error))
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
        issues.report(
            "size-differs",
            f"{name}: ground truth {truth.shape[1]} × {truth.shape[0]}, "
            f"prediction {predicted.shape[1]} × {predicted.shape[0]} (width × height)",
        )
        return
    for value, pixels in _count_values_from(truth, categories):
        example = f"{name}: value {value} in {pixels} pixels, expected 0 to {categories - 1}"
        issues.report("truth-label-out-of-range", example)
    for value, pixels in _count_values_from(np.where(truth >= 0, predicted, -1), categories):
        example = f"{name}: value {value} in {pixels} pixels, expected 0 to {categories - 1}"
        issues.report("predicted-label-out-of-range", example)


def _count_values_from(values: Int64[np.ndarray, "_ _"], minimum: int) -> list[tuple[int, int]]:
    """Return each distinct value of at least `minimum` with its number of pixels."""
    found, pixels = np.unique(values[values >= minimum], return_counts=True)
    return list(zip(found.tolist(), pixels.tolist(), strict=True))
