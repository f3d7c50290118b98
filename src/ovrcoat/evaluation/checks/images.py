"""Checks of a data set's images, one by one: the image, its labels, and what they say of each other."""

import io
import warnings
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int32
from PIL import ExifTags, Image

from ovrcoat.data.dataset import Dataset
from ovrcoat.data.files import FileTree
from ovrcoat.data.images import read_image
from ovrcoat.data.label_images import decode_ids
from ovrcoat.data.truth import IGNORED
from ovrcoat.errors import DatasetError, ImageError
from ovrcoat.evaluation.checks.dataset_faults import add_fault
from ovrcoat.evaluation.checks.ground_truth import TruthCheck
from ovrcoat.evaluation.checks.panoptic import Annotation
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.issues import IssueList

# what stands in a path of one split, and in the same path of the other
OTHER_SPLITS = (("val2017/", "train2017/"), ("validation/", "training/"), ("/val/", "/train/"))
EIGHT_BIT_MODES = ("L", "P", "1")
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height; 1 is upright


class ImageChecker:
    """Takes a data set's records one after another; `finish` tells what only all of them can tell.

    `annotations` are those of the panoptic JSON that can be used; a data set without has none.
    """

    def __init__(
        self,
        dataset: Dataset,
        tree: FileTree,
        annotations: Mapping[ImageId, Annotation],
        issues: IssueList,
    ) -> None:
        self._dataset = dataset
        self._tree = tree
        self._annotations = annotations
        self._issues = issues
        self._labelled = 0  # images with at least one pixel of a category
        self._unlabelled = 0
        self._truth = TruthCheck(issues)

    def add(self, record: Record) -> None:
        """Look into the image and the labels of one record."""
        sizes = self._image_sizes(record)
        if not self._tree.exists(record.labels):
            self._tell("labels-missing", self._tree.describe(record.labels))
            return
        is_panoptic = "panoptic" in self._dataset.tasks
        labels = self._id_map(record) if is_panoptic else self._semantic_map(record)
        if labels is None:
            return
        if sizes is not None:
            self._compare_sizes(record, labels.shape, *sizes)
        if bool((labels != (0 if is_panoptic else IGNORED)).any()):
            self._labelled += 1
        else:
            self._unlabelled += 1
            self._tell("image-unlabelled", record.labels)

    def finish(self) -> None:
        """Tell what concerns all photos."""
        if self._unlabelled and not self._labelled:
            self._tell("all-ignored", f"{self._unlabelled} images")
        self._truth.finish(self._dataset.categories)

    def _tell(self, code: str, example: str) -> None:
        add_fault(self._issues, code, example)

    def _image_sizes(self, record: Record) -> tuple[tuple[int, int], int] | None:
        """The image's (height, width) as viewers see it, and its EXIF orientation; None: a fault was told."""
        if not self._tree.exists(record.image):
            self._image_missing(record)
            return None
        try:
            content = self._dataset.image(record)
            height, width, _ = read_image(content).pixels.shape
        except (DatasetError, ImageError) as error:
            self._tell("image-damaged", f"{record.image}: {error}")
            return None
        return (height, width), _orientation(content)

    def _image_missing(self, record: Record) -> None:
        for one, other in (*OTHER_SPLITS, *((other, one) for one, other in OTHER_SPLITS)):
            elsewhere = record.image.replace(one, other, 1)
            if elsewhere != record.image and self._tree.exists(elsewhere):
                self._tell("image-in-other-split", f"{record.image}: there is {elsewhere}")
                return
        self._tell("image-missing", self._tree.describe(record.image))

    def _compare_sizes(
        self, record: Record, labels: tuple[int, ...], upright: tuple[int, int], orientation: int
    ) -> None:
        where = f"{record.image}: image {_text(upright)}, labels {_text(labels)}"
        if labels == upright:
            if orientation != 1:
                self._tell("image-rotated", f"{record.image}: orientation {orientation}")
        elif orientation in TURNED and labels == upright[::-1]:
            self._tell("labels-of-unrotated-photo", where)
        else:
            self._tell("size-differs", where)

    def _semantic_map(self, record: Record) -> Int32[np.ndarray, "height width"] | None:
        try:
            labels = self._dataset.semantic(record)
            if max(category.id for category in self._dataset.categories) > 255:
                self._check_depth(record)
        except DatasetError as error:
            self._tell("labels-unusable", str(error))
            return None
        return labels

    def _check_depth(self, record: Record) -> None:
        with Image.open(io.BytesIO(self._tree.read(record.labels))) as picture:
            if picture.mode in EIGHT_BIT_MODES:
                self._tell("labels-of-8-bits", f"{record.labels}: mode {picture.mode}")

    def _id_map(self, record: Record) -> Int32[np.ndarray, "height width"] | None:
        """The picture of the segments, compared with the JSON; the reader has its say, too."""
        try:
            id_map = decode_ids(self._tree.read(record.labels), place=self._tree.describe(record.labels))
        except DatasetError as error:
            self._tell("labels-unusable", str(error))
            return None
        if (annotation := self._annotations.get(record.image_id)) is not None:
            self._truth.add(annotation, id_map)
        try:
            self._dataset.panoptic(record)
        except DatasetError as error:
            self._tell("labels-unusable", str(error))
        return id_map


def _orientation(content: bytes) -> int:
    """EXIF's orientation, 1 (upright) where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata
        with Image.open(io.BytesIO(content)) as picture:
            value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(2, 9) else 1


def _text(size: tuple[int, ...]) -> str:
    return f"{size[1]} × {size[0]}"
