"""Check the images of a dataset one by one: the image, its labels, and whether the two match."""

import io
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int32
from PIL import Image, UnidentifiedImageError

from ovrcoat.data.dataset import Dataset
from ovrcoat.data.decode import exif_orientation
from ovrcoat.data.file_kinds import OPENED_FORMATS
from ovrcoat.data.files import FileTree
from ovrcoat.data.images import read_image
from ovrcoat.data.label_images import decode_ids
from ovrcoat.data.panoptic_dataset import PanopticDataset
from ovrcoat.data.pillow_warnings import pillow_warnings_ignored
from ovrcoat.data.truth import IGNORED
from ovrcoat.errors import DatasetError, ImageError
from ovrcoat.evaluation.checks.ground_truth import GroundTruthChecker
from ovrcoat.evaluation.checks.panoptic import PanopticAnnotation
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.issues import IssueList

# Parts of a path in one split, and the corresponding parts in the other split.
OTHER_SPLITS = (("val2017/", "train2017/"), ("validation/", "training/"), ("/val/", "/train/"))
EIGHT_BIT_MODES = ("L", "P", "1")
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height; 1 is upright


class ImageChecker:
    """Checks the records of a dataset one after another; `finish` reports what concerns all of them.

    Args:
        dataset: The dataset.
        tree: Its files.
        annotations: Usable annotations of its panoptic JSON by image id; empty if it has none.
        issues: Receives the issues.
    """

    def __init__(
        self,
        dataset: Dataset,
        tree: FileTree,
        annotations: Mapping[ImageId, PanopticAnnotation],
        issues: IssueList,
    ) -> None:
        self._dataset = dataset
        self._tree = tree
        self._annotations = annotations
        self._issues = issues
        self._labeled_count = 0  # images with at least one pixel of a category
        self._unlabeled_count = 0
        self._ground_truth = GroundTruthChecker(issues)

    def add(self, record: Record) -> None:
        """Check the image and the labels of one record."""
        image = self._check_image(record)
        if not self._tree.exists(record.labels):
            self._issues.report("labels-missing", self._tree.describe(record.labels))
            return
        is_panoptic = "panoptic" in self._dataset.tasks
        labels = self._id_map(record) if is_panoptic else self._semantic_map(record)
        if labels is None:
            return
        if image is not None:
            self._compare_sizes(record, labels.shape, *image)
        if bool((labels != (0 if is_panoptic else IGNORED)).any()):
            self._labeled_count += 1
        else:
            self._unlabeled_count += 1
            self._issues.report("image-unlabeled", record.labels)

    def finish(self) -> None:
        """Report the issues that concern all images together."""
        if self._unlabeled_count and not self._labeled_count:
            self._issues.report("all-ignored", f"{self._unlabeled_count} images")
        self._ground_truth.finish(self._dataset.categories)

    def _check_image(self, record: Record) -> tuple[tuple[int, int], int] | None:
        """Return the image's (height, width) after EXIF rotation, and its EXIF orientation.

        Returns None if the image is missing or damaged, which is reported.
        """
        if not self._tree.exists(record.image):
            self._report_missing_image(record)
            return None
        try:
            content = self._dataset.image(record)
            height, width, _ = read_image(content).pixels.shape
        except (DatasetError, ImageError) as error:
            self._issues.report("image-damaged", f"{record.image}: {error}")
            return None
        return (height, width), _orientation(content)

    def _report_missing_image(self, record: Record) -> None:
        for one, other in (*OTHER_SPLITS, *((other, one) for one, other in OTHER_SPLITS)):
            candidate = record.image.replace(one, other, 1)
            if candidate != record.image and self._tree.exists(candidate):
                self._issues.report("image-in-other-split", f"{record.image}: found {candidate}")
                return
        self._issues.report("image-missing", self._tree.describe(record.image))

    def _compare_sizes(
        self, record: Record, labels: tuple[int, ...], image: tuple[int, int], orientation: int
    ) -> None:
        sizes = f"{record.image}: image {_size_text(image)}, labels {_size_text(labels)}"
        if labels == image:
            if orientation != 1:
                self._issues.report("image-rotated", f"{record.image}: orientation {orientation}")
        elif orientation in SIDEWAYS and labels == image[::-1]:
            self._issues.report("labels-of-unrotated-image", sizes)
        else:
            self._issues.report("size-differs", sizes)

    def _semantic_map(self, record: Record) -> Int32[np.ndarray, "height width"] | None:
        try:
            labels = self._dataset.semantic(record)
            if max(category.id for category in self._dataset.categories) > 255:
                self._check_bit_depth(record)
        except DatasetError as error:
            self._issues.report("labels-unusable", str(error))
            return None
        return labels

    def _check_bit_depth(self, record: Record) -> None:
        with Image.open(io.BytesIO(self._tree.read(record.labels)), formats=OPENED_FORMATS) as image:
            if image.mode in EIGHT_BIT_MODES:
                self._issues.report("labels-of-8-bits", f"{record.labels}: mode {image.mode}")

    def _id_map(self, record: Record) -> Int32[np.ndarray, "height width"] | None:
        """Decode the panoptic PNG and compare it with the JSON, here and in the dataset's own reader."""
        if not isinstance(self._dataset, PanopticDataset):
            return self._drawn_id_map(record)
        try:
            id_map = decode_ids(self._tree.read(record.labels), location=self._tree.describe(record.labels))
        except DatasetError as error:
            self._issues.report("labels-unusable", str(error))
            return None
        if (annotation := self._annotations.get(record.image_id)) is not None:
            self._ground_truth.add(annotation, id_map)
        try:
            self._dataset.panoptic(record)
        except DatasetError as error:
            self._issues.report("labels-unusable", str(error))
        return id_map

    def _drawn_id_map(self, record: Record) -> Int32[np.ndarray, "height width"] | None:
        """Return the id map of labels that are not stored as pixels."""
        try:
            truth = self._dataset.panoptic(record)
        except DatasetError as error:
            self._issues.report("labels-unusable", str(error))
            return None
        drawn = {segment.id for segment in truth.segments}
        for segment in record.segments:
            if segment.id not in drawn:
                self._issues.report("object-covered", f"{record.image}: object {segment.id}")
        return truth.id_map


def _orientation(content: bytes) -> int:
    """Return the EXIF orientation, or 1 (upright) if there is none."""
    with pillow_warnings_ignored():
        try:
            with Image.open(io.BytesIO(content), formats=OPENED_FORMATS) as image:
                orientation, _ = exif_orientation(image)
        except UnidentifiedImageError:  # its metadata is damaged, and was ignored when its pixels were read
            return 1
    return orientation


def _size_text(size: tuple[int, ...]) -> str:
    return f"{size[1]} × {size[0]}"
