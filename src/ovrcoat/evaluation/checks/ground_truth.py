"""Checks of a panoptic truth by itself, without a prediction: its JSON, its pixels, and the two together."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32
from tqdm import tqdm

from ovrcoat.data.files import DOCUMENT_LIMIT
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.dataset_faults import add_fault
from ovrcoat.evaluation.checks.panoptic import (
    NOT_GIVEN,
    Annotation,
    Pair,
    check_annotations,
    check_categories,
    pixel_faults,
)
from ovrcoat.evaluation.checks.panoptic_faults import report
from ovrcoat.evaluation.metrics.panoptic_quality import (
    PanopticQuality,
    count_overlap,
    match_overlap,
    with_areas,
)
from ovrcoat.evaluation.scoring.panoptic import PanopticSource, PngFaultError, read_id_map
from ovrcoat.issues import IssueList
from ovrcoat.vocabulary import Category


class TruthCheck:
    """Takes the id maps of a panoptic truth one after another; also scores the truth against itself."""

    def __init__(self, issues: IssueList) -> None:
        self._issues = issues
        self._self_score = PanopticQuality()

    def add(self, truth: Annotation, id_map: Int32[np.ndarray, "height width"]) -> None:
        """Compare the segments of one image with its pixels."""
        overlap = count_overlap(id_map, id_map)
        for code, example in pixel_faults(Pair(truth, truth), overlap):
            if not code.startswith("prediction"):  # the truth again, standing in for a prediction
                report(self._issues, code, example)
        areas = overlap.true_areas
        predicted = {segment.id: segment.category_id for segment in truth.segments if segment.id in areas}
        counted = with_areas(truth.segments, areas)
        segments = [
            right if given.area == NOT_GIVEN else given
            for given, right in zip(truth.segments, counted, strict=True)
        ]
        try:
            self._self_score.add(match_overlap(overlap, segments, predicted=predicted).tallies)
        except DatasetError as error:
            report(self._issues, "area-impossible", f"image {truth.image_id!r}: {error}")

    def finish(self, categories: tuple[Category, ...]) -> None:
        """Tell what wrong areas cost, if there are any."""
        if "areas-differ" in self._issues:
            pq = self._self_score.report(categories)["groups"]["All"]["pq"]
            text = "nothing counts" if pq is None else f"PQ of the truth against itself is {100 * pq:.2f}"
            add_fault(self._issues, "areas-cost", text)


def check_truth(
    truth: PanopticSource, *, limit: int | None = None, progress: bool = False
) -> tuple[IssueList, int]:
    """All faults of a panoptic truth in files, and the number of images looked at.

    Raises:
        DatasetError: the JSON cannot be read: there is nothing to check.
    """
    issues = IssueList()
    document = read_object(truth.json)
    categories = check_categories(document, issues)
    annotations = check_annotations(document, side="truth", categories=categories, issues=issues)
    check = TruthCheck(issues)
    count = len(annotations) if limit is None else min(limit, len(annotations))
    images = islice(annotations.values(), count)
    for annotation in tqdm(images, total=count, unit="image", disable=None if progress else True):
        path = truth.folder / annotation.file_name
        try:
            id_map, has_alpha = read_id_map(path)
        except PngFaultError as error:
            report(issues, error.code, f"{path}: {error}")
            continue
        if has_alpha:
            report(issues, "png-with-alpha", str(path))
        check.add(annotation, id_map)
    check.finish(categories)
    return issues, count


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DatasetError: the file cannot be read, or holds something else.
    """
    document = _read_json(path)
    if not isinstance(document, dict):
        raise DatasetError(
            f"{path} holds a JSON {type(document).__name__}, expected an object; check the path"
        )
    return document


def read_list(path: Path) -> list[Any]:
    """The list in a JSON file.

    Raises:
        DatasetError: the file cannot be read, or holds something else.
    """
    document = _read_json(path)
    if not isinstance(document, list):
        raise DatasetError(f"{path} holds a JSON {type(document).__name__}, expected a list; check the path")
    return document


def _read_json(path: Path) -> Any:
    try:
        if (size := path.stat().st_size) > DOCUMENT_LIMIT:
            raise DatasetError(
                f"{path} has {size:,} bytes, expected at most {DOCUMENT_LIMIT:,}; check the path"
            )
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is no JSON or cut off ({error}); copy or download it again") from error
