"""A user's own semantic data: a folder or zip with images/, labels/ (ids per pixel) and a list of names."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from jaxtyping import Int32

from ovrcoat.data.files import FileTree
from ovrcoat.data.images import SUFFIXES
from ovrcoat.data.label_images import decode_values, positions_of
from ovrcoat.data.panoptic_dataset import FileDataset
from ovrcoat.data.truth import IGNORED, PanopticTruth
from ovrcoat.errors import DatasetError, VocabularyError
from ovrcoat.formats.annotations import Record
from ovrcoat.formats.panoptic_json import check_unique_ids
from ovrcoat.vocabulary import Vocabulary

NAMES = ("names.json", "names.yaml", "names.yml", "names.txt")
LABEL_SUFFIXES = (".png", ".tif", ".tiff")
DEFAULT_IGNORED = (255, 65_535)  # what all published 8-bit and 16-bit label maps have for "nobody knows"
ADVICE = (
    "A folder of semantic labels holds images/, labels/ with the same names (PNG or TIFF) and a vocabulary "
    f"file {', '.join(NAMES)} (docs/datasets.md)."
)
VALUE_ADVICE = (
    "Give every value a category (names.txt: one line '7: road, street' per id), or list the values that "
    'nobody asks for in names.json or names.yaml: "ignore": [0, 255]'
)


class SemanticFolderDataset(FileDataset):
    """Images and label maps of the same name; a label map holds the ids of the vocabulary file.

    Images without labels are left out. A value that is neither an id nor ignored is an error: were 0 ignored
    silently, labels that start at 0 would be read shifted by one.

    Raises:
        DatasetError: there are no labels or no names, a label map has no image, ids are given twice.
    """

    def __init__(self, tree: FileTree, *, name: str) -> None:
        vocabulary, ignored = _read_names(tree)
        ids = [category.id for category in vocabulary.categories]
        self._table = dict.fromkeys(ignored, IGNORED) | {id: position for position, id in enumerate(ids)}
        super().__init__(
            tree,
            name=name,
            split=None,
            categories=vocabulary.categories,
            records=_pair(tree),
            tasks=frozenset(("semantic",)),
            advice=ADVICE,
        )

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Positions in `categories`.

        Raises:
            DatasetError: the labels are missing, damaged, of several channels, or hold unknown values.
        """
        place = self.tree.describe(record.labels)
        values = decode_values(self.tree.read(record.labels, advice=self.advice), place=place)
        return positions_of(values, self._table, place=place, advice=VALUE_ADVICE)

    def panoptic(self, record: Record) -> PanopticTruth:
        """There is none.

        Raises:
            DatasetError: always.
        """
        raise self._without("panoptic")

    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """There are none.

        Raises:
            DatasetError: always.
        """
        raise self._without("instance")

    def _without(self, task: str) -> DatasetError:
        return DatasetError(
            f"{self.tree.root}: semantic labels tell no {task} truth; ask for the task semantic, or give "
            "panoptic.json and panoptic/"
        )


def _pair(tree: FileTree) -> tuple[Record, ...]:
    images = {_stem(path): path for path in tree.list("images", suffixes=SUFFIXES)}
    labels = {_stem(path): path for path in tree.list("labels", suffixes=LABEL_SUFFIXES)}
    alone = sorted(labels.keys() - images.keys())
    if alone or not labels:
        shown = f"{len(alone)} label files have no photo of that name in images/, e.g. {', '.join(alone[:3])}"
        raise DatasetError(f"{tree.root}: {shown if alone else 'no labels in labels/'}. {ADVICE}")
    return tuple(Record(stem, image=images[stem], labels=path) for stem, path in sorted(labels.items()))


def _stem(path: str) -> str:
    """The path below images/ or labels/ without its suffix."""
    return str(PurePosixPath(*PurePosixPath(path).parts[1:]).with_suffix(""))


def _read_names(tree: FileTree) -> tuple[Vocabulary, tuple[int, ...]]:
    path = next((name for name in NAMES if tree.exists(name)), None)
    if path is None:
        raise tree.missing(*NAMES, advice=ADVICE)
    content, place = tree.read(path), tree.describe(path)
    with tempfile.TemporaryDirectory() as folder:  # vocabularies are read from files; ours may lie in a zip
        copy = Path(folder) / path
        copy.write_bytes(content)
        try:
            vocabulary = Vocabulary.load(copy)
        except VocabularyError as error:
            raise DatasetError(str(error).replace(str(copy), place)) from error
    if not vocabulary.categories:
        raise DatasetError(f"{place}: there are no names. {ADVICE}")
    check_unique_ids(vocabulary.categories, place=place)
    return vocabulary, _read_ignored(content, suffix=PurePosixPath(path).suffix, place=place)


def _read_ignored(content: bytes, *, suffix: str, place: str) -> tuple[int, ...]:
    """The values below "ignore"; the vocabulary is already known to be well-formed."""
    if suffix == ".txt":
        return DEFAULT_IGNORED
    text = content.decode("utf-8-sig")
    data = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
    values = data.get("ignore") if isinstance(data, dict) else None
    if values is None:
        return DEFAULT_IGNORED
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise DatasetError(
            f'{place}: "ignore" is {values!r}, expected a list of pixel values such as [0, 255]'
        )
    return tuple(values)
