"""The contract of a labelled data set: records, categories, and the truth of each record by task.

A data set knows where its files lie, never what a model makes of them. Nothing but lists of names is read
before an image or its labels are asked for.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.config import Task
from ovrcoat.data.truth import PanopticTruth, semantic_from_panoptic
from ovrcoat.formats.annotations import Record
from ovrcoat.vocabulary import Category, Vocabulary


class Dataset(ABC):
    """One split of a data set.

    Attributes:
        name: "coco", "ade20k", "cityscapes", "mapillary", or the name of a user's folder.
        split: "val", "train"; None if the data set has no splits.
        records: one per labelled image, in the order of the data set's own list.
        categories: with the data set's own ids and synonyms; semantic maps hold positions in this tuple.
        tasks: those that there is a truth for.
    """

    name: str
    split: str | None
    records: Sequence[Record]
    categories: tuple[Category, ...]
    tasks: frozenset[Task]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that this data set is asked with."""
        return Vocabulary(self.categories, name=self.name)

    @abstractmethod
    def image(self, record: Record) -> bytes:
        """The encoded photo.

        Raises:
            DatasetError: the file is missing; says where it was looked for.
        """

    @abstractmethod
    def panoptic(self, record: Record) -> PanopticTruth:
        """The panoptic truth of a photo.

        Raises:
            DatasetError: the file is missing, damaged or contradicts its JSON; or the data set has none.
        """

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Positions in `categories` per pixel, `truth.IGNORED` where no category is known.

        Raises:
            DatasetError: as for `panoptic`.
        """
        return semantic_from_panoptic(self.panoptic(record), [category.id for category in self.categories])

    @abstractmethod
    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """The instances of these records in COCO's format: images, annotations (RLE or polygons), categories.

        Annotation ids start at 1: COCO's evaluation takes a match with id 0 for none.

        Raises:
            DatasetError: as for `panoptic`.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A short hash (hexadecimal) of the lists of images and labels: tells two data sets apart."""
