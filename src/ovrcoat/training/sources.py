"""What a configuration names: places beside it, and the data sets to learn from or to look at."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.held_out import is_held_out
from ovrcoat.data.images import read_image
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import Record
from ovrcoat.training.config import DataConfig, ImageNamesConfig
from ovrcoat.training.crops import LabelledImage

Item = TypeVar("Item")


def beside(path: str, base: Path) -> str:
    """A relative path, if something lies there below `base`; else the text as it is: a name, or words."""
    try:
        return str(base / path) if (base / path).exists() else path
    except OSError:  # too long for a path: words
        return path


def open_data(data: DataConfig, *, base: Path) -> Dataset:
    """The whole data set.

    Raises:
        DatasetError: it is missing or faulty.
    """
    root = None if data.root is None else beside(data.root, base)
    return open_dataset(beside(data.path, base), root=root, split=data.split)


@runtime_checkable
class ImageSource(Protocol):
    """Images to draw samples from."""

    @property
    def records(self) -> Sequence[Any]:
        """What `image` takes, one for each photo."""

    @property
    def weight(self) -> float:
        """How often it is drawn, relative to the others."""

    def image(self, record: Any) -> LabelledImage:
        """Read an image with what is known of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set, how often it is drawn relative to the others, and what a pixel without label means."""

    dataset: Dataset
    records: tuple[Record, ...]  # those that may be trained on
    weight: float
    unlabelled: Literal["void", "unknown"]

    def image(self, record: Record) -> LabelledImage:
        """Read an image with its labels."""
        truth = self.dataset.panoptic(record)
        image = read_image(self.dataset.image(record))
        if image.pixels.shape[:2] != truth.id_map.shape:
            height, width = truth.id_map.shape
            raise DatasetError(
                f"{self.dataset.name}: the labels of {record.image} have {width} × {height} pixels, it "
                f"has {image.pixels.shape[1]} × {image.pixels.shape[0]}; labels must have their image's size"
            )
        return LabelledImage(record.image, image.pixels, truth, all_labelled=self.unlabelled == "void")


def open_source(data: DataConfig, *, base: Path) -> Source:
    """A data set that may be trained on.

    Raises:
        DatasetError: it is missing, or no image is left.
    """
    dataset = open_data(data, base=base)
    records = not_held_out(dataset.records, data, file_of=lambda record: record.image)
    return Source(dataset, records, weight=data.weight, unlabelled=data.unlabelled)


def not_held_out(
    items: Iterable[Item], settings: DataConfig | ImageNamesConfig, *, file_of: Callable[[Item], str]
) -> tuple[Item, ...]:
    """Those that may be trained on; `file_of` tells the image's file.

    Raises:
        DatasetError: none is left.
    """
    left = tuple(item for item in items if not is_held_out(file_of(item), settings.held_out))
    if not left:
        raise DatasetError(f"{settings.path}: no image is left to train on; held_out is {settings.held_out}")
    return left
