"""Exporter: the base class of all formats that are written into a folder of their own."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from ovrcoat.results.background import BackgroundShare
from ovrcoat.results.segment import Segment
from ovrcoat.structures import Size
from ovrcoat.vocabulary import Category


@runtime_checkable
class LabeledResult(Protocol):
    """The part of a result that exporters need."""

    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> Size: ...  # noqa: D102
    @property
    def image(self) -> UInt8[np.ndarray, "height width 3"] | None: ...  # noqa: D102
    @property
    def segments(self) -> tuple[Segment, ...]: ...  # noqa: D102
    @property
    def background(self) -> tuple[BackgroundShare, ...]: ...  # noqa: D102
    def mask(self, segment_id: int) -> Bool[np.ndarray, "height width"]: ...  # noqa: D102
    def segment_map(self) -> Int32[np.ndarray, "height width"]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """One image to export.

    Attributes:
        result: the segments. For labels, weak instances and duplicates are left out (`Result.shown`).
        complete: the result with all segments.
        entry: the entry of the run's document: "id", "file_name", "height", "width", and "output", the stem
            of the image's output files.
        source: path of the image file, if it is known.
    """

    result: LabeledResult
    complete: LabeledResult
    entry: Mapping[str, Any]
    source: Path | None

    @property
    def stem(self) -> str:
        """Name of the image's output files, without suffix."""
        return str(self.entry["output"])

    @property
    def file_name(self) -> str:
        """File name of the image, without folder."""
        return str(self.entry["file_name"])


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file to write.

    Attributes:
        path: relative to the folder of the format.
        content: all bytes.
        is_fixed: whether it replaces an equal file only, unless overwriting is allowed: because the content
            cannot show that this package wrote it, or because it gives the meaning of other files.
    """

    path: str
    content: bytes
    is_fixed: bool = False


class Exporter(ABC):
    """Writes the results of one run in one format.

    Args:
        folder: the folder of the format; it exists.
        categories: the vocabulary's categories.
        overwrite: replace files that this package did not write.
        kept: stems of images whose labels, written by an earlier run, stay.
    """

    def __init__(
        self, folder: Path, categories: Sequence[Category], *, overwrite: bool, kept: Collection[str]
    ) -> None:
        self.folder = folder
        self.categories = tuple(categories)
        self.overwrite = overwrite
        self.kept = kept

    @classmethod  # noqa: B027 - most formats hold all categories
    def check_categories(cls, categories: Sequence[Category]) -> None:
        """Raise a ConfigError if the format cannot hold these categories."""

    def run_files(self) -> Iterable[OutputFile]:
        """Return the files that exist once per run, such as the names of the classes."""
        return ()

    @abstractmethod
    def image_files(self, image: ExportedImage) -> Iterable[OutputFile]:
        """Return the files of one image."""

    def append(self, image: ExportedImage) -> tuple[Path, ...]:
        """Add an image to the document of the run, where the format has one; return the document's path."""
        return ()

    def has(self, stem: str) -> bool:
        """Return whether the document of the run, where the format has one, holds an image."""
        return True

    def close(self, *, interrupted: bool) -> None:  # noqa: B027 - most have no document
        """Complete the document of the run, where the format has one."""
