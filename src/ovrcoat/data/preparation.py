"""What making panoptic files from a release needs: id PNGs that are whole or absent, JSON that comes last.

An interrupted run is simply run again: PNGs that hold what they should are kept, and a JSON that is there
means that all is done. Annotations go to disk at once: of an image only its name and size are kept in memory.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import numpy as np
from jaxtyping import Bool, Int32

from ovrcoat.data.label_images import decode_ids
from ovrcoat.data.panoptic_dataset import bbox_of
from ovrcoat.errors import DatasetError, OutputError
from ovrcoat.formats.panoptic_png import id_map_to_image
from ovrcoat.system.atomic_write import cannot_write, write_atomically
from ovrcoat.vocabulary import Vocabulary

ADVICE = (
    "Panoptic files are made beside the release; give a copy or a link of it "
    "that can be written, or make room."
)
Track = Callable[[Sequence[str]], Iterable[str]]  # passes its items on, perhaps moving a progress bar


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a run has done.

    Attributes:
        documents: all JSON files of the split, made now or before.
        made: how many images were gone through; 0: all was there.
    """

    documents: tuple[Path, ...]
    made: int


class DocumentWriter:
    """Writes a JSON file in COCO's form, annotation by annotation; it appears when all went well.

    Raises:
        OutputError: the file or its folder cannot be written.
    """

    def __init__(self, path: Path, *, categories: Sequence[dict[str, Any]]) -> None:
        self.path = path
        self._images: list[dict[str, Any]] = []
        self._part_path = path.with_name(f".{uuid4().hex}.part")
        self._separator = "\n"
        with _output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._part = self._part_path.open("x", encoding="utf-8")
            self._part.write(json.dumps({"categories": categories})[:-1] + ', "annotations": [')

    def add(self, image: dict[str, Any], annotations: Iterable[dict[str, Any]]) -> None:
        """Add an image and its annotations."""
        self._images.append(image)
        with _output_errors(self.path):
            for annotation in annotations:
                self._part.write(self._separator + json.dumps(annotation))
                self._separator = ",\n"

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with _output_errors(self.path):
                if kind is None:
                    self._part.write(f'\n], "images": {json.dumps(self._images)}}}\n')
                self._part.close()
                if kind is None:
                    self._part_path.replace(self.path)
        finally:
            self._part_path.unlink(missing_ok=True)


def write_ids(path: Path, id_map: Int32[np.ndarray, "height width"], *, overwrite: bool) -> None:
    """Write COCO's id PNG; one that is there is kept if it holds the same, and replaced if it is damaged.

    Raises:
        OutputError: it cannot be written, or a picture of other segments is in the way.
    """
    if path.exists() and not overwrite:
        try:
            present = decode_ids(path.read_bytes(), place=str(path))
        except DatasetError:
            present = None  # a copy that was cut off
        if present is not None and np.array_equal(present, id_map):
            return
        if present is not None:
            raise OutputError(
                f"{path} exists and holds other segments, made by another program or from other labels. Move "
                "its folder away, or allow overwriting if it may be lost."
            )
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    picture = id_map_to_image(id_map)
    write_atomically(path, lambda file: picture.save(file, format="PNG"), advice=ADVICE)


def category_entries(preset: str) -> list[dict[str, Any]]:
    """`categories` of a panoptic JSON."""
    return [
        {"id": category.id, "name": category.name, "isthing": int(category.is_thing), "color": category.color}
        for category in Vocabulary.named(preset).categories
    ]


def segment_entry(
    id: int, category_id: int, mask: Bool[np.ndarray, "height width"], *, is_crowd: bool = False
) -> dict[str, Any]:
    """Entry of `segments_info` for a mask that is not empty."""
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
