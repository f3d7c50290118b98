"""Helpers for creating panoptic files from a release: atomic PNGs first, the JSON file last.

An interrupted run can be started again: PNGs with the right content are kept, and an existing JSON file means
that its run is complete. Annotations are written to disk immediately; memory holds only names and sizes of
the images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from ovrcoat.data.instances import bbox_of
from ovrcoat.errors import OutputError
from ovrcoat.formats.coco_document import CocoDocumentWriter
from ovrcoat.formats.panoptic_png import PanopticPngError, id_map_to_image, read_id_map
from ovrcoat.system.atomic_write import cannot_write, remove_leftovers, write_atomically
from ovrcoat.system.folder_lock import FolderLock
from ovrcoat.vocabulary import Vocabulary

ADVICE = (
    "Panoptic files are created next to the release; use a writable copy of it or a link to it, or free disk "
    "space."
)
Track = Callable[[Sequence[str]], Iterable[str]]  # yields its items, for example with a progress bar


@dataclass(frozen=True, slots=True)
class Preparation:
    """Result of a run.

    Attributes:
        documents: All JSON files of the split, whether new or already present.
        image_count: Number of images that were processed; 0 if all files were already present.
    """

    documents: tuple[Path, ...]
    image_count: int


@contextmanager
def exclusive(documents: Sequence[Path]) -> Iterator[None]:
    """Keep other processes from creating the same documents, and remove what a killed process left.

    Args:
        documents: JSON files in one folder. The PNGs of a document are in the folder with its name.

    Raises:
        OutputError: Another process creates them; the message names it.
    """
    folder = documents[0].parent
    with _output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with FolderLock(folder):
        remove_leftovers(folder)
        for document in documents:
            remove_leftovers(document.with_suffix(""))
        yield


class DocumentWriter:
    """Writes a JSON file in COCO's format, image by image. Use it as a context manager.

    The file appears when the `with` block ends without an exception.

    Args:
        path: The file to write; its folder is created, and an existing file is deleted.
        categories: Content of `categories`.

    Raises:
        OutputError: The file or its folder cannot be written.
    """

    def __init__(self, path: Path, *, categories: Sequence[dict[str, Any]]) -> None:
        self._images: list[dict[str, Any]] = []
        with _output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # it would not match PNGs that are replaced before a kill
        self._document = CocoDocumentWriter(path, head={"categories": categories}, advice=ADVICE)

    def add(self, image: dict[str, Any], annotations: Iterable[dict[str, Any]]) -> None:
        """Add an image and its annotations.

        Raises:
            OutputError: The file cannot be written.
        """
        self._images.append(image)
        for annotation in annotations:
            self._document.append(annotation)

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._document.finish(self._images)
        else:
            self._document.discard()


def write_id_map(path: Path, id_map: Int32[np.ndarray, "height width"], *, overwrite: bool) -> None:
    """Write a panoptic PNG. An existing file is kept if it has the same content, and replaced if damaged.

    Raises:
        OutputError: The file cannot be written, or a PNG with other segments exists and `overwrite` is off.
    """
    if path.exists() and not overwrite:
        try:
            existing = read_id_map(path).id_map
        except PanopticPngError:
            existing = None  # for example a truncated copy
        if existing is not None and np.array_equal(existing, id_map):
            return
        if existing is not None:
            raise OutputError(
                f"{path} exists and holds other segments, written by another program or from other labels. "
                "Move its folder, or allow overwriting if the file is not needed."
            )
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    image = id_map_to_image(id_map)
    write_atomically(path, lambda file: image.save(file, format="PNG"), advice=ADVICE)


def category_entries(preset: str) -> list[dict[str, Any]]:
    """Return the `categories` of a panoptic JSON."""
    return [
        {"id": category.id, "name": category.name, "isthing": int(category.is_thing), "color": category.color}
        for category in Vocabulary.named(preset).categories
    ]


def segment_entry(
    id: int, category_id: int, mask: Bool[np.ndarray, "height width"], *, is_crowd: bool = False
) -> dict[str, Any]:
    """Return the entry of `segments_info` for a non-empty mask."""
    return {
        "id": id,
        "category_id": category_id,
        "area": int(mask.sum()),
        "bbox": bbox_of(mask),
        "iscrowd": int(is_crowd),
    }


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, advice=ADVICE) from error
