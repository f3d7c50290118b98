"""A folder of YOLO segmentation labels: images/, labels/*.txt with normalized polygons, and data.yaml.

Each line of a label file is one object: the number of its class, then x y x y ... from 0 to 1. The splits may
be folders in images/ and labels/ (Ultralytics) or contain them (Roboflow).
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ovrcoat.data.files import FileTree
from ovrcoat.data.image_index import ImageIndex, without_suffix
from ovrcoat.data.instance_dataset import InstanceDataset, LabeledShapes, Shape, Size
from ovrcoat.data.shape_reading import raise_without_masks, read_polygon, report_box, report_unknown_labels
from ovrcoat.data.splits import SPLIT_FOLDERS, choose_split
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.formats.panoptic_json import read_categories, report_unlabeled
from ovrcoat.issues import IssueList
from ovrcoat.system.documents import DocumentError, parse_yaml
from ovrcoat.vocabulary import Category
from ovrcoat.vocabulary.foreign import standard_form

LABELS, IMAGES = "labels", "images"
YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
TEXT_NAMES = ("classes.txt", "obj.names", "classes.names")
MAX_NORMALIZED = 1.5  # polygons may leave the image a little; larger values are pixels
BOX_VALUES = 4  # center x, center y, width, height
ADVICE = (
    "A YOLO segmentation folder consists of images/, labels/ with one .txt per image, and data.yaml with "
    '"names" (docs/datasets.md).'
)


def find_yolo_labels(tree: FileTree, split: str | None) -> tuple[tuple[str, ...], str | None] | None:
    """Return the label files of a split and its name, or None if the folder has no YOLO labels.

    Raises:
        DatasetError: The folder has several splits, but not the requested one.
    """
    listed = [path for path in tree.list("", suffixes=(".txt",)) if LABELS in PurePosixPath(path).parts[:-1]]
    if not listed or not any(tree.exists(name) for name in (*YAML_NAMES, *TEXT_NAMES)):
        return None
    by_split: dict[str | None, list[str]] = {}
    for path in listed:
        by_split.setdefault(_split_of(path), []).append(path)
    found = [name for name in by_split if name is not None]
    if not found:
        return tuple(by_split[None]), None
    chosen = choose_split(found, split, name=str(tree.root))
    return tuple(by_split[chosen]), chosen


def _split_of(path: str) -> str | None:
    folders = [part for part in PurePosixPath(path).parts[:-1] if part != LABELS]
    return next((part for part in folders if re.sub(r"\d+$", "", part.lower()) in SPLIT_FOLDERS), None)


class YoloFolder(InstanceDataset):
    """Images and label files with the same path below images/ and labels/.

    An empty label file belongs to an image without objects. Images without a label file are left out.

    Args:
        tree: The files.
        name: Name of the dataset.
        labels: Paths of the label files.
        split: Name of the split; None if there are no splits.

    Raises:
        DatasetError: The names or images are missing, or the labels are boxes or malformed.
    """

    def __init__(self, tree: FileTree, *, name: str, labels: Sequence[str], split: str | None) -> None:
        issues = IssueList()
        categories = _read_names(tree, issues)
        index = ImageIndex(tree)
        reader = _Reader(tree, frozenset(category.id for category in categories), issues)
        found: dict[ImageId, LabeledShapes] = {}
        for path in labels:
            image = index.find_stem(_image_stem(path))
            if image is None:
                message = "label files have no image of that name in images/; copy the images"
                issues.add("image-missing", message, example=path)
                continue
            found[without_suffix(image)] = LabeledShapes(image, path, reader.read(path))
        reader.finish()
        folders = {str(PurePosixPath(entry.image).parent) for entry in found.values()}
        for path in index.paths:
            if str(PurePosixPath(path).parent) in folders and without_suffix(path) not in found:
                report_unlabeled(issues, path)
        issues.raise_errors(str(tree.root))
        if not any(entry.shapes for entry in found.values()):
            raise_without_masks(issues, str(tree.root))
        super().__init__(
            tree,
            name=name,
            split=split,
            categories=categories,
            labels=found,
            issues=tuple(issues),
            advice=ADVICE,
        )

    def shapes(self, record: Record, size: Size) -> tuple[Shape, ...]:
        """Return the shapes in pixels."""
        height, width = size
        return tuple(
            Shape(
                shape.category_id,
                tuple(polygon * np.array([width, height]) for polygon in shape.polygons),
            )
            for shape in super().shapes(record, size)
        )


class _Reader:
    """Reads label files; everything that cannot be used is counted in `issues`."""

    def __init__(self, tree: FileTree, category_ids: frozenset[int], issues: IssueList) -> None:
        self._tree = tree
        self._category_ids = category_ids
        self._issues = issues
        self._unknown: Counter[str] = Counter()

    def read(self, path: str) -> tuple[Shape, ...]:
        """Return the shapes of one file; their polygons are normalized to 0..1."""
        text = self._tree.read(path).decode("utf-8-sig", errors="replace")
        numbered = enumerate(text.splitlines(), start=1)
        shapes = (self._read_line(line.split(), f"{path}: line {number}") for number, line in numbered)
        return tuple(shape for shape in shapes if shape is not None)

    def finish(self) -> None:
        """Report the classes that have no name."""
        report_unknown_labels(self._issues, self._unknown, severity="error")

    def _read_line(self, words: list[str], example: str) -> Shape | None:
        if not words:
            return None
        try:
            category, values = int(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            category, values = -1, []
        polygon = read_polygon(values)
        if category < 0 or (len(values) != BOX_VALUES and polygon is None):
            message = (
                "lines are not a class number and a polygon x y x y ... of at least 3 points; correct them"
            )
            self._issues.add("line-invalid", message, example=example)
            return None
        if category not in self._category_ids:
            self._unknown[str(category)] += 1
            return None
        if polygon is None:
            report_box(self._issues, example)
            return None
        if max(map(abs, values)) > MAX_NORMALIZED:
            message = (
                "polygons are in pixels, expected values from 0 to 1; divide x by the width, y by the height"
            )
            self._issues.add("not-normalized", message, example=example)
            return None
        return Shape(category, (polygon,))


def _image_stem(path: str) -> str:
    """Return the path of a label file's image without suffix: the last "labels" becomes "images"."""
    parts = list(PurePosixPath(path).with_suffix("").parts)
    position = len(parts) - 2 - parts[-2::-1].index(LABELS)
    return str(PurePosixPath(*parts[:position], IMAGES, *parts[position + 1 :]))


def _read_names(tree: FileTree, issues: IssueList) -> tuple[Category, ...]:
    """Return the categories; their ids are the class numbers, which start at 0."""
    for path in YAML_NAMES:
        if tree.exists(path):
            return read_categories(_parse_yaml(tree, path), location=tree.describe(path), issues=issues)
    path = next(name for name in TEXT_NAMES if tree.exists(name))
    lines = tree.read(path).decode("utf-8-sig", errors="replace").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    categories = [{"id": id, "name": name} for id, name in enumerate(names)]
    return read_categories({"categories": categories}, location=tree.describe(path), issues=issues)


def _parse_yaml(tree: FileTree, path: str) -> dict[str, Any]:
    location = tree.describe(path)
    try:
        data = parse_yaml(tree.read(path).decode("utf-8-sig"))
    except (DocumentError, UnicodeDecodeError) as error:
        raise DatasetError(f"{location} is not valid YAML: {error}") from error
    converted = standard_form(data)
    if not isinstance(converted, dict) or "categories" not in converted:
        raise DatasetError(f'{location} lacks "names", the list of classes. {ADVICE}')
    return {"categories": converted["categories"]}
