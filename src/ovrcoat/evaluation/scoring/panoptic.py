"""Score panoptic predictions in files: JSON and PNG of both sides in, all issues or the scores out.

Threads read and decode a few images at a time, so memory holds the two JSON files and those images. Decoding
the PNGs is most of the work (see `formats.panoptic_png`); pixels are counted by runs of equal ids
(`panoptic_quality.count_overlap`). A compiled engine for counting would gain little, and existing ones do not
check their input. Measurements: benchmarks/scoring.py.
"""

import os
import warnings
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32
from tqdm import tqdm

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.panoptic import (
    ImagePair,
    Occurrence,
    check_annotations,
    check_categories,
    find_pixel_issues,
    pair_annotations,
)
from ovrcoat.evaluation.checks.panoptic_issues import PANOPTIC_ISSUES
from ovrcoat.evaluation.metrics.groups import matching_preset, seen_category_ids
from ovrcoat.evaluation.metrics.panoptic_quality import (
    PanopticQuality,
    Tally,
    count_overlap,
    match_overlap,
    size_text,
    with_areas,
)
from ovrcoat.formats.annotations import AREA_NOT_GIVEN
from ovrcoat.formats.json_files import read_json
from ovrcoat.formats.panoptic_json import PanopticSource
from ovrcoat.formats.panoptic_png import PanopticPngError, read_id_map
from ovrcoat.issues import IssueList
from ovrcoat.vocabulary import Category, Vocabulary

Areas = Literal["json", "png"]
OTHER_AREAS: dict[Areas, Areas] = {"json": "png", "png": "json"}
THREADS = 4  # more threads gain nothing: the remaining Python code holds the GIL
# Bytes. glibc returns large freed blocks to the system, and page faults of new blocks can cost as much as
# decoding. Freeing one block of up to 32 MiB raises this threshold permanently; the block itself is never
# touched and costs nothing.
MALLOC_THRESHOLD_BLOCK = 31 << 20
BATCH = 16  # images per task: fewer hand-overs between threads


@dataclass(frozen=True, slots=True)
class ExaminedImage:
    """Issues and scores of one image.

    Attributes:
        occurrences: Issue codes with examples.
        tallies: Tallies by category for each source of areas; None if these areas are impossible. Empty if
            the image cannot be scored.
    """

    occurrences: tuple[Occurrence, ...]
    tallies: dict[Areas, dict[int, Tally] | None]


def score_panoptic(
    truth: PanopticSource,
    prediction: PanopticSource,
    *,
    seen: Vocabulary | Collection[int] | None = None,
    areas: Areas = "json",
    progress: bool = False,
) -> dict[str, Any]:
    """Compute panoptic quality of a prediction in files.

    Args:
        truth: Ground truth.
        prediction: Predictions for the same images.
        seen: Categories seen in training, as the training vocabulary or as category ids. Default: no split
            into seen and unseen.
        areas: Areas of ground-truth segments: "json" as stated in the JSON, like published results, or "png"
            as counted from the pixels.
        progress: Show a progress bar on a terminal.

    Returns:
        The scores as in `PanopticQuality.report`, with `n_images`, `areas` and the warnings as `issues`.

    Raises:
        DatasetError: The scores would be meaningless; the message lists all issues.
    """
    issues = IssueList(PANOPTIC_ISSUES)
    categories, pairs = _read_pairs(truth, prediction, issues)
    sums: dict[Areas, PanopticQuality | None] = {"json": PanopticQuality(), "png": PanopticQuality()}
    for examined in _examine_all(pairs, truth.folder, prediction.folder, progress=progress):
        for code, example in examined.occurrences:
            if code != "area-impossible" or areas == "json":
                issues.report(code, example)
        for choice, tallies in examined.tallies.items():
            if tallies is None:
                sums[choice] = None
            elif (total := sums[choice]) is not None:
                total.add(tallies)
    issues.raise_errors(f"{prediction.json} against {truth.json}", outcome="cannot be scored")
    requested = sums[areas]
    assert requested is not None, "impossible areas are an error"
    seen_ids = _seen_ids(categories, seen, issues)
    scores = requested.report(categories, seen_ids)
    if "areas-differ" in issues:
        _report_other_areas(scores, sums[OTHER_AREAS[areas]], categories, areas=areas, issues=issues)
    if not scores["per_class"]:
        issues.report("nothing-counted", str(prediction.json))
    seen_part = {} if seen_ids is None else {"seen_category_ids": sorted(seen_ids)}
    facts = {"n_images": len(pairs), "areas": areas, "issues": [issue.to_dict() for issue in issues]}
    return scores | seen_part | facts


def check_panoptic(
    truth: PanopticSource, prediction: PanopticSource, *, progress: bool = False
) -> tuple[IssueList, int]:
    """Collect all issues that `score_panoptic` would report, including errors.

    Returns:
        The issues, and the number of images that were compared.
    """
    issues = IssueList(PANOPTIC_ISSUES)
    _, pairs = _read_pairs(truth, prediction, issues)
    for examined in _examine_all(pairs, truth.folder, prediction.folder, progress=progress):
        for code, example in examined.occurrences:
            issues.report(code, example)
    return issues, len(pairs)


def _read_pairs(
    truth: PanopticSource, prediction: PanopticSource, issues: IssueList
) -> tuple[tuple[Category, ...], tuple[ImagePair, ...]]:
    """Read both JSON files; return the categories of the ground truth and the annotations of each image."""
    true_document = _read_document(truth, issues)
    predicted_document = _read_document(prediction, issues)
    if true_document is None:
        return (), ()
    categories = check_categories(true_document, issues)
    truths = check_annotations(true_document, side="truth", categories=categories, issues=issues)
    if predicted_document is None:
        return categories, ()
    predictions = check_annotations(
        predicted_document, side="prediction", categories=categories, issues=issues
    )
    pairs = pair_annotations(truths, predictions, images=true_document.get("images"), issues=issues)
    return categories, pairs if truth.folder.is_dir() and prediction.folder.is_dir() else ()


def _read_document(source: PanopticSource, issues: IssueList) -> dict[str, Any] | None:
    if not source.folder.is_dir():
        issues.report("folder-missing", str(source.folder))
    try:
        document = read_json(source.json)
    except DatasetError as error:
        issues.report("json-unreadable", str(error))
        return None
    if not isinstance(document, dict):
        kind = type(document).__name__
        issues.report("json-not-panoptic", f"{source.json}: a {kind} instead of an object")
        return None
    return document


def _examine_all(
    pairs: Sequence[ImagePair], truth_folder: Path, prediction_folder: Path, *, progress: bool
) -> Iterator[ExaminedImage]:
    """Examine all pairs in order; threads work a few batches ahead."""

    def examine_batch(batch: Sequence[ImagePair]) -> list[ExaminedImage]:
        return [_examine(pair, truth_folder, prediction_folder) for pair in batch]

    bytearray(MALLOC_THRESHOLD_BLOCK)
    threads = min(THREADS, os.cpu_count() or 1)
    waiting: deque[Future[list[ExaminedImage]]] = deque()
    bar = tqdm(total=len(pairs), unit="image", disable=None if progress else True)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="score")
    # Pillow warns about unusual metadata and about large images, which have a limit of their own here. One
    # filter covers all threads, because warning filters belong to the process.
    with warnings.catch_warnings(), bar:
        warnings.simplefilter("ignore")
        try:
            for start in range(0, len(pairs), BATCH):
                waiting.append(pool.submit(examine_batch, pairs[start : start + BATCH]))
                if len(waiting) > 2 * threads:
                    done = waiting.popleft().result()
                    bar.update(len(done))
                    yield from done
            for future in waiting:
                bar.update(len(future.result()))
                yield from future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _examine(pair: ImagePair, truth_folder: Path, prediction_folder: Path) -> ExaminedImage:
    subject = f"image {pair.truth.image_id!r}"
    occurrences: list[Occurrence] = []
    true_map = _read_side(truth_folder / pair.truth.file_name, f"{subject}, ground truth", occurrences)
    predicted_map = _read_side(
        prediction_folder / pair.prediction.file_name, f"{subject}, prediction", occurrences
    )
    if true_map is None or predicted_map is None:
        return ExaminedImage(tuple(occurrences), {})
    height, width = true_map.shape
    if pair.listed_size is not None and pair.listed_size != (width, height):
        sizes = f"JSON {pair.listed_size}, PNG {(width, height)}"
        occurrences.append(("truth-size-differs", f"{subject}: {sizes}"))
    if true_map.shape != predicted_map.shape:
        swapped = " (width and height look swapped)" if predicted_map.shape == (width, height) else ""
        sizes = f"ground truth {size_text(true_map)}, prediction {size_text(predicted_map)} pixels{swapped}"
        occurrences.append(("size-mismatch", f"{subject}: {sizes}"))
        return ExaminedImage(tuple(occurrences), {})
    overlap = count_overlap(true_map, predicted_map)
    occurrences += find_pixel_issues(pair, overlap)
    predicted = {
        segment.id: segment.category_id
        for segment in pair.prediction.segments
        if segment.id in overlap.predicted_areas
    }
    segments = pair.truth.segments
    if all(segment.area == overlap.true_areas.get(segment.id) for segment in segments):
        tallies = match_overlap(overlap, segments, predicted=predicted).tallies
        return ExaminedImage(tuple(occurrences), {"json": tallies, "png": tallies})
    counted = with_areas(segments, overlap.true_areas)
    by_pixels = match_overlap(overlap, counted, predicted=predicted).tallies
    stated = tuple(
        by_count if segment.area == AREA_NOT_GIVEN else segment
        for segment, by_count in zip(segments, counted, strict=True)
    )
    try:
        by_json = match_overlap(overlap, stated, predicted=predicted).tallies
    except DatasetError as error:
        occurrences.append(("area-impossible", f"{subject}: {error}"))
        return ExaminedImage(tuple(occurrences), {"json": None, "png": by_pixels})
    return ExaminedImage(tuple(occurrences), {"json": by_json, "png": by_pixels})


def _read_side(
    path: Path, subject: str, occurrences: list[Occurrence]
) -> Int32[np.ndarray, "height width"] | None:
    try:
        id_map, has_alpha = read_id_map(path)
    except PanopticPngError as error:
        occurrences.append((error.code, f"{subject}: {path}: {error.detail}"))
        return None
    if has_alpha:
        occurrences.append(("png-with-alpha", f"{subject}: {path}"))
    return id_map


def _seen_ids(
    categories: Sequence[Category], seen: Vocabulary | Collection[int] | None, issues: IssueList
) -> frozenset[int] | None:
    if seen is None:
        return None
    if isinstance(seen, Vocabulary):
        if preset := matching_preset(categories):
            issues.report("seen-by-preset", str(preset.name))
        return seen_category_ids(categories, seen)
    for id in sorted(set(seen) - {category.id for category in categories}):
        issues.report("seen-id-unknown", f"id {id}")
    return frozenset(seen) & {category.id for category in categories}


def _report_other_areas(
    scores: dict[str, Any],
    other: PanopticQuality | None,
    categories: Sequence[Category],
    *,
    areas: Areas,
    issues: IssueList,
) -> None:
    choice = OTHER_AREAS[areas]
    if other is None:
        example = f"--areas {choice}: impossible, an IoU would exceed 1"
    else:
        values = other.report(categories)["groups"]["All"]["pq"], scores["groups"]["All"]["pq"]
        texts = ["undefined" if value is None else f"{100 * value:.2f} %" for value in values]
        example = f"PQ of all categories is {texts[0]} with --areas {choice}, {texts[1]} with --areas {areas}"
    issues.report("areas-other-choice", example)
