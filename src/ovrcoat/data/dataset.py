"""Interface of a labeled dataset: records, categories, and the ground truth of each record by task.

A dataset locates and decodes its files and knows nothing about models. Opening it reads only lists; images
and labels are read when they are requested.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.choices import Task
from ovrcoat.data.fingerprint import combine
from ovrcoat.data.truth import PanopticTruth, semantic_from_panoptic
from ovrcoat.formats.annotations import Record
from ovrcoat.issues import Issue
from ovrcoat.vocabulary import Category, Vocabulary


class Dataset(ABC):
    """One split of a labeled dataset.

    Attributes:
        name: "coco", "ade20k", "cityscapes", "mapillary", or the name of a user's folder.
        split: "val" or "train"; None if the dataset has no splits.
        records: One per labeled image, in the order of the dataset's own list.
        categories: Categories with the dataset's own ids and synonyms. Semantic maps hold positions in this
            tuple.
        tasks: Tasks for which ground truth is available.
        issues: What was noticed while the lists were read, for example images without labels.
    """

    name: str
    split: str | None
    records: Sequence[Record]
    categories: tuple[Category, ...]
    tasks: frozenset[Task]
    issues: Sequence[Issue] = ()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def vocabulary(self) -> Vocabulary:
        """The dataset's categories as a vocabulary."""
        return Vocabulary(self.categories, name=self.name)

    @abstractmethod
    def image(self, record: Record) -> bytes:
        """Return the content of the image file.

        Raises:
            DatasetError: The file is missing; the message lists the folders that were searched.
        """

    @abstractmethod
    def panoptic(self, record: Record) -> PanopticTruth:
        """Return the panoptic ground truth of an image.

        Raises:
            DatasetError: The file is missing, damaged or contradicts its JSON, or the dataset has no panoptic
                ground truth.
        """

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Return the position in `categories` for each pixel, or `truth.IGNORED` where there is no category.

        Raises:
            DatasetError: As for `panoptic`.
        """
        return semantic_from_panoptic(self.panoptic(record), [category.id for category in self.categories])

    @abstractmethod
    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """Return the instances of these records in COCO's format.

        Annotation ids start at 1, because COCO's evaluation treats a match with id 0 as no match.

        Returns:
            Dictionary with the lists "images", "annotations" (masks as RLE or polygons) and "categories".

        Raises:
            DatasetError: As for `panoptic`.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short hexadecimal hash of all images and labels: it changes if a label file changes."""

    def schema_fingerprint(self) -> str:
        """Return a short hexadecimal hash of what applies to all images: the split and the categories."""
        return combine([repr((self.name, self.split, self.categories))])

    def record_fingerprint(self, record: Record) -> str:
        """Return a short hexadecimal hash of one image and its labels; it changes if one of them does."""
        return combine([repr(record)])
