"""Resolves paths of a configuration and opens the datasets that it names."""

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.held_out import is_held_out
from ovrcoat.data.images import LoadedImage, read_image
from ovrcoat.errors import ConfigError, DatasetError, ImageError
from ovrcoat.formats.annotations import Record
from ovrcoat.training.config import DataConfig
from ovrcoat.training.crops import LabeledImage

VARIABLE = re.compile(r"\$\{(\w+)\}")


def expand_variables(path: str) -> str:
    """Replace `${NAME}` by the environment variable of that name.

    Raises:
        ConfigError: the variable is not set, or empty.
    """

    def value_of(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if not value:
            raise ConfigError(
                f"the path {path!r} needs the environment variable {match[1]}, which is not set. "
                f"Run: export {match[1]}=/path/to/datasets"
            )
        return value

    return VARIABLE.sub(value_of, path)


def resolve_path(path: str, base: Path) -> str:
    """Resolve a path of a configuration against `base`, the folder of its file.

    Returns `path` unchanged if there is no such file: it may be a dataset name, a model name or a list of
    class names.
    """
    try:
        return str(base / path) if (base / path).exists() else path
    except OSError:  # too long for a path: class names
        return path


def open_data(data: DataConfig, *, base: Path) -> Dataset:
    """Open a dataset, including its held-out images.

    Raises:
        ConfigError: an environment variable in its path is not set.
        DatasetError: it is missing or damaged.
    """
    root = None if data.root is None else resolve_path(expand_variables(data.root), base)
    return open_dataset(resolve_path(expand_variables(data.path), base), root=root, split=data.split)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A dataset to draw training samples from.

    Attributes:
        records: the images to train on, without held-out images.
        weight: sampling frequency, relative to the other sources.
        unlabeled: meaning of a pixel without a label (see `DataConfig`).
        held_out: share of the images that is excluded from `records`.
        on_error: how to handle an image that cannot be used (see `DataConfig`).
    """

    dataset: Dataset
    records: tuple[Record, ...]
    weight: float
    unlabeled: Literal["void", "unknown"]
    held_out: float = 0.0
    on_error: Literal["raise", "skip"] = "raise"

    def image(self, record: Record) -> LabeledImage:
        """Read an image with its labels.

        Raises:
            DatasetError: a file is missing or damaged, or the labels do not have the image's size.
        """
        truth = self.dataset.panoptic(record)
        image = self._read(record)
        if image.pixels.shape[:2] != truth.id_map.shape:
            height, width = truth.id_map.shape
            raise DatasetError(
                f"{self.dataset.name}: the labels of {record.image} have {width} × {height} pixels, the "
                f"image has {image.pixels.shape[1]} × {image.pixels.shape[0]}; both must have the same size"
            )
        return LabeledImage(record.image, image.pixels, truth, all_labeled=self.unlabeled == "void")

    def _read(self, record: Record) -> LoadedImage:
        file = io.BytesIO(self.dataset.image(record))
        file.name = f"{self.dataset.name}/{record.image}"  # for messages
        try:
            return read_image(file)
        except ImageError as error:
            raise DatasetError(str(error)) from error


def open_source(data: DataConfig, *, base: Path) -> ImageSource:
    """Open a dataset for training.

    Raises:
        ConfigError: an environment variable in its path is not set.
        DatasetError: it is missing or damaged, or all its images are held out.
    """
    dataset = open_data(data, base=base)
    records = tuple(record for record in dataset.records if not is_held_out(record.image, data.held_out))
    if not records:
        raise DatasetError(f"{data.path}: no image is left to train on; held_out is {data.held_out}")
    return ImageSource(
        dataset,
        records,
        weight=data.weight,
        unlabeled=data.unlabeled,
        held_out=data.held_out,
        on_error=data.on_error,
    )
