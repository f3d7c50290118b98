"""A user's own semantic dataset: a folder or zip file with images/, labels/ (ids per pixel) and names."""

import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.data.files import FileTree
from ovrcoat.data.find_images import SUFFIXES
from ovrcoat.data.fingerprint import combine
from ovrcoat.data.label_images import LABEL_SUFFIXES, decode_values, map_values
from ovrcoat.data.panoptic_dataset import FileDataset
from ovrcoat.data.truth import IGNORED, PanopticTruth
from ovrcoat.errors import DatasetError, VocabularyError
from ovrcoat.formats.annotations import Record
from ovrcoat.formats.panoptic_json import check_unique_ids, report_unlabeled
from ovrcoat.issues import IssueList
from ovrcoat.system.documents import parse_json, parse_yaml
from ovrcoat.vocabulary import Vocabulary
from ovrcoat.vocabulary.hints import check_changes

NAMES = ("names.json", "names.yaml", "names.yml", "names.txt")
DEFAULT_IGNORED = (255, 65_535)  # "unknown" in all published 8-bit and 16-bit label maps
ADVICE = (
    "A semantic dataset consists of images/, labels/ with the same names (PNG or TIFF) and a vocabulary "
    f"file {', '.join(NAMES)} (docs/datasets.md)."
)
VALUE_ADVICE = (
    "Give every value a category (names.txt: one line '7: road, street' per id), or list the values to "
    'ignore in names.json or names.yaml: "ignore": [0, 255]'
)


class SemanticFolderDataset(FileDataset):
    """Images and label maps with the same names; label maps hold the ids of the vocabulary file.

    Images without labels are left out. A value that is neither an id nor ignored is an error. If 0 were
    silently ignored, labels that start at 0 would be read shifted by one.

    Raises:
        DatasetError: Labels or names are missing, a label map has no image, or two categories share an id.
    """

    def __init__(self, tree: FileTree, *, name: str) -> None:
        vocabulary, ignored = _read_names(tree)
        ids = [category.id for category in vocabulary.categories]
        issues = IssueList()
        records = _pair(tree, issues)
        for issue in check_changes(vocabulary.changes):
            issues.include(issue)
        self._table = dict.fromkeys(ignored, IGNORED) | {id: position for position, id in enumerate(ids)}
        super().__init__(
            tree,
            name=name,
            split=None,
            categories=vocabulary.categories,
            records=records,
            tasks=frozenset(("semantic",)),
            advice=ADVICE,
            issues=tuple(issues),
        )

    def schema_fingerprint(self) -> str:
        """Return a hash of the categories and of the meaning of all pixel values."""
        return combine([super().schema_fingerprint(), repr(sorted(self._table.items()))])

    def semantic(self, record: Record) -> Int32[np.ndarray, "height width"]:
        """Return positions in `categories`.

        Raises:
            DatasetError: The labels are missing, damaged, have several channels, or hold unknown values.
        """
        location = self.tree.describe(record.labels)
        values = decode_values(self.tree.read(record.labels, advice=self.advice), location=location)
        return map_values(values, self._table, location=location, advice=VALUE_ADVICE)

    def panoptic(self, record: Record) -> PanopticTruth:
        """Raise an error: semantic labels have no panoptic ground truth.

        Raises:
            DatasetError: Always.
        """
        raise self._no_ground_truth("panoptic")

    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """Raise an error: semantic labels have no instances.

        Raises:
            DatasetError: Always.
        """
        raise self._no_ground_truth("instance")

    def _no_ground_truth(self, task: str) -> DatasetError:
        return DatasetError(
            f"{self.tree.root}: semantic labels contain no {task} ground truth; choose the task semantic, or "
            "provide panoptic.json and panoptic/"
        )


def _pair(tree: FileTree, issues: IssueList) -> tuple[Record, ...]:
    images = {_stem(path): path for path in tree.list("images", suffixes=SUFFIXES)}
    labels = {_stem(path): path for path in tree.list("labels", suffixes=LABEL_SUFFIXES)}
    unpaired = sorted(labels.keys() - images.keys())
    if unpaired or not labels:
        examples = ", ".join(unpaired[:3])
        reason = f"{len(unpaired)} label files have no image of that name in images/, e.g. {examples}"
        raise DatasetError(f"{tree.root}: {reason if unpaired else 'no labels in labels/'}. {ADVICE}")
    for stem in sorted(images.keys() - labels.keys()):
        report_unlabeled(issues, images[stem])
    return tuple(Record(stem, image=images[stem], labels=path) for stem, path in sorted(labels.items()))


def _stem(path: str) -> str:
    """Return the path below images/ or labels/ without its suffix."""
    return str(PurePosixPath(*PurePosixPath(path).parts[1:]).with_suffix(""))


def _read_names(tree: FileTree) -> tuple[Vocabulary, tuple[int, ...]]:
    path = next((name for name in NAMES if tree.exists(name)), None)
    if path is None:
        raise tree.missing(*NAMES, advice=ADVICE)
    content, location = tree.read(path), tree.describe(path)
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # vocabularies are read from files, but this one may be in a zip file
        copy = Path(folder) / path
        copy.write_bytes(content)
        try:
            vocabulary = Vocabulary.load(copy)
        except VocabularyError as error:
            raise DatasetError(str(error).replace(str(copy), location)) from error
    check_unique_ids(vocabulary.categories, location=location)
    ignored = _read_ignored(content, suffix=PurePosixPath(path).suffix, location=location)
    # labelme and CVAT give 0 to pixels without a class; their names are left out and the ids start at 1
    return vocabulary, ignored if "_background_" not in vocabulary.skipped else (0, *ignored)


def _read_ignored(content: bytes, *, suffix: str, location: str) -> tuple[int, ...]:
    """Return the values of the key "ignore"; the vocabulary has already been parsed successfully."""
    if suffix == ".txt":
        return DEFAULT_IGNORED
    text = content.decode("utf-8-sig")
    data = parse_json(text) if suffix == ".json" else parse_yaml(text)
    values = data.get("ignore") if isinstance(data, dict) else None
    if values is None:
        return DEFAULT_IGNORED
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise DatasetError(
            f'{location}: "ignore" is {values!r}, expected a list of pixel values such as [0, 255]'
        )
    return tuple(values)
