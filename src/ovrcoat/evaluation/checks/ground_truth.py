"""Check panoptic ground truth without a prediction: its JSON, its pixels, and whether the two match."""

from itertools import islice

import numpy as np
from jaxtyping import Int32
from tqdm import tqdm

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.dataset_issues import DATASET_ISSUES
from ovrcoat.evaluation.checks.panoptic import (
    ImagePair,
    PanopticAnnotation,
    check_annotations,
    check_categories,
    find_pixel_issues,
)
from ovrcoat.evaluation.checks.panoptic_issues import PANOPTIC_ISSUES
from ovrcoat.evaluation.metrics.panoptic_quality import (
    PanopticQuality,
    count_overlap,
    match_overlap,
    with_areas,
)
from ovrcoat.formats.annotations import AREA_NOT_GIVEN
from ovrcoat.formats.json_files import read_json_object
from ovrcoat.formats.panoptic_json import PANOPTIC_FORMAT, PanopticSource
from ovrcoat.formats.panoptic_png import PanopticPngError, read_id_map
from ovrcoat.issues import IssueList
from ovrcoat.vocabulary import Category


class GroundTruthChecker:
    """Checks the id maps of panoptic ground truth one by one, and scores the ground truth against itself.

    Args:
        issues: Receives the issues; its catalog must include `PANOPTIC_ISSUES` and `DATASET_ISSUES`.
    """

    def __init__(self, issues: IssueList) -> None:
        self._issues = issues
        self._self_score = PanopticQuality()

    def add(self, truth: PanopticAnnotation, id_map: Int32[np.ndarray, "height width"]) -> None:
        """Compare the segments of one image with its pixels."""
        overlap = count_overlap(id_map, id_map)
        for code, example in find_pixel_issues(ImagePair(truth, truth), overlap):
            if not code.startswith("prediction"):  # the ground truth also takes the place of a prediction
                self._issues.report(code, example)
        areas = overlap.true_areas
        predicted = {segment.id: segment.category_id for segment in truth.segments if segment.id in areas}
        counted = with_areas(truth.segments, areas)
        segments = [
            by_pixels if by_json.area == AREA_NOT_GIVEN else by_json
            for by_json, by_pixels in zip(truth.segments, counted, strict=True)
        ]
        try:
            self._self_score.add(match_overlap(overlap, segments, predicted=predicted).tallies)
        except DatasetError as error:
            self._issues.report("area-impossible", f"image {truth.image_id!r}: {error}")

    def finish(self, categories: tuple[Category, ...]) -> None:
        """Report how much wrong areas change panoptic quality, if there are any."""
        if "areas-differ" in self._issues:
            pq = self._self_score.report(categories)["groups"]["All"]["pq"]
            text = (
                "nothing counts" if pq is None else f"PQ of the ground truth against itself is {100 * pq:.2f}"
            )
            self._issues.report("areas-cost", text)


def check_ground_truth(
    truth: PanopticSource, *, limit: int | None = None, progress: bool = False
) -> tuple[IssueList, int]:
    """Check panoptic ground truth in files.

    Args:
        truth: The JSON file and the folder of its PNGs.
        limit: Maximum number of PNGs to decode. The JSON is always checked completely.
        progress: Show a progress bar on a terminal.

    Returns:
        All issues, and the number of images that were decoded.

    Raises:
        DatasetError: The JSON cannot be read.
    """
    issues = IssueList({**DATASET_ISSUES, **PANOPTIC_ISSUES})
    document = read_json_object(truth.json, expected=PANOPTIC_FORMAT)
    categories = check_categories(document, issues)
    annotations = check_annotations(document, side="truth", categories=categories, issues=issues)
    checker = GroundTruthChecker(issues)
    count = len(annotations) if limit is None else min(limit, len(annotations))
    images = islice(annotations.values(), count)
    for annotation in tqdm(images, total=count, unit="image", disable=None if progress else True):
        path = truth.folder / annotation.file_name
        try:
            id_map, has_alpha = read_id_map(path)
        except PanopticPngError as error:
            issues.report(error.code, f"{path}: {error.detail}")
            continue
        if has_alpha:
            issues.report("png-with-alpha", str(path))
        checker.add(annotation, id_map)
    checker.finish(categories)
    return issues, count
