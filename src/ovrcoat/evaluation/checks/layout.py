"""Check the four published datasets for known pitfalls: whether the files of a release agree with each other.

The checks look at the raw files instead of using the readers, which stop at the first error. docs/datasets.md
describes the expected layout.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int32
from PIL import Image

from ovrcoat.data.file_kinds import OPENED_FORMATS
from ovrcoat.data.files import FileTree
from ovrcoat.data.label_images import decode_channels, decode_values
from ovrcoat.errors import DatasetError
from ovrcoat.formats.panoptic_json import check_categories
from ovrcoat.issues import IssueList
from ovrcoat.vocabulary import Vocabulary

LONG_SPLITS = {"train": "training", "val": "validation"}  # as ADE20K and Mapillary call them
CITYSCAPES_LABELS = 33  # the largest label id
CITYSCAPES_GROUPS = 1000  # instanceIds below are label ids: stuff, or a group of things
CITYSCAPES_WITH_INSTANCES = range(24, 34)  # person to bicycle, with caravan and trailer
ADE20K_CATEGORIES = 150
ADE20K_THINGS = 100
MAPILLARY_UNLABELED = 65
MAPILLARY_2_CATEGORIES = 100  # or more: v2.0 has 124 labels, v1.2 has 65 categories


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one split, and the list that receives issues.

    Attributes:
        tree: The dataset's files.
        split: "val" or "train".
        document: The split's panoptic JSON; `{}` if there is none.
        issues: Receives the issues.
        limit: Maximum number of images whose label files are decoded.
        on_image: Called once per image whose label files were decoded.
    """

    tree: FileTree
    split: str
    document: dict[str, Any]
    issues: IssueList
    limit: int | None = None
    on_image: Callable[[], object] = lambda: None

    def values(self, path: str) -> Int32[np.ndarray, "height width"] | None:
        """Decode the values of a label file; None if it is missing, or damaged, which is reported."""
        if not self.tree.exists(path):
            return None
        try:
            return decode_values(self.tree.read(path), location=path)
        except DatasetError as error:
            self.issues.report("labels-unusable", str(error))
            return None

    def names(self, folder: str, ending: str) -> Iterator[str]:
        """Yield the names of the first `limit` files below `folder`, without `ending`."""
        for path in self.tree.list(folder, suffixes=(ending.lower(),))[: self.limit]:
            yield path.removeprefix(f"{folder}/")[: -len(ending)]
            self.on_image()


def check_layout(name: str, layout: Layout) -> None:
    """Check the published dataset `name` for its known pitfalls; other names are not checked."""
    if name in CHECKS:
        _check_categories(name, layout)
        CHECKS[name](layout)


def _segments_of(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (image id, segment) for all segments of a panoptic JSON, which may be malformed."""
    for annotation in _entries(document.get("annotations")):
        for segment in _entries(annotation.get("segments_info")):
            yield str(annotation.get("image_id")), segment


def _entries(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list in a JSON document; [] if it is not a list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _category_ids(document: dict[str, Any]) -> set[int]:
    ids = (category.get("id") for category in _entries(document.get("categories")))
    return {category_id for category_id in ids if type(category_id) is int}


def _check_categories(name: str, layout: Layout) -> None:
    """Compare the JSON's categories with the published list; other versions have their own issue codes."""
    ids = _category_ids(layout.document)
    if not ids or _is_train_ids(name, ids) or (name == "mapillary" and len(ids) >= MAPILLARY_2_CATEGORIES):
        return
    try:
        check_categories(layout.document, Vocabulary.named(name).categories, location="the panoptic JSON")
    except DatasetError as error:
        layout.issues.report("categories-differ", str(error))


def _is_train_ids(name: str, ids: Iterable[int]) -> bool:
    return name == "cityscapes" and all(id <= 18 or id == 255 for id in ids)


def _check_coco(layout: Layout) -> None:
    folder = f"panoptic_{layout.split}2017"
    inside = f"annotations/{folder}"
    if layout.tree.exists(f"{inside}.zip"):
        layout.issues.report("coco-panoptic-inside", layout.tree.describe(f"{inside}.zip"))
    elif layout.tree.list(inside, suffixes=(".png",)) and not layout.tree.list(folder, suffixes=(".png",)):
        layout.issues.report("coco-panoptic-inside", inside)


def _check_ade20k(layout: Layout) -> None:
    long = LONG_SPLITS.get(layout.split, layout.split)
    for name, code in (
        ("annotations_detectron2", "ade20k-shifted-labels-missing"),
        ("annotations_instance", "ade20k-instances-missing"),
    ):
        if not layout.tree.list(f"{name}/{long}", suffixes=(".png",)):
            layout.issues.report(code, f"{name}/{long}")
    has_instances = "ade20k-instances-missing" not in layout.issues
    for folder in (layout.tree.root, layout.tree.root.parent):
        extra = folder / "ade" / "ADE20K_2021_17_01"
        if extra.is_dir():
            layout.issues.report("ade20k-full-extra-folder", str(extra))
    for stem in layout.names(f"annotations/{long}", ".png"):
        _check_ade20k_labels(layout, f"{long}/{stem}.png")
        if has_instances:
            _check_ade20k_instances(layout, f"annotations_instance/{long}/{stem}.png")


def _check_ade20k_labels(layout: Layout, name: str) -> None:
    labels = layout.values(f"annotations/{name}")
    if labels is None:
        return
    largest = int(labels.max())
    if largest == 255:
        layout.issues.report("ade20k-labels-shifted", f"annotations/{name}")
    elif largest > ADE20K_CATEGORIES:
        layout.issues.report("ade20k-label-unknown", f"annotations/{name}: {largest}")
    shifted = layout.values(f"annotations_detectron2/{name}")
    if shifted is not None and largest <= ADE20K_CATEGORIES:
        path = f"annotations_detectron2/{name}"
        _compare(layout, "ade20k-labels-not-shifted", path, shifted, (labels - 1) % 256)


def _check_ade20k_instances(layout: Layout, path: str) -> None:
    if not layout.tree.exists(path):
        layout.issues.report("ade20k-instance-png-missing", path)
        return
    try:
        classes = decode_channels(layout.tree.read(path), location=path)[..., 0]
    except DatasetError as error:
        layout.issues.report("labels-unusable", str(error))
        return
    if classes.max() > ADE20K_THINGS:
        layout.issues.report("ade20k-instance-class", f"{path}: {classes.max()}")


def _check_cityscapes(layout: Layout) -> None:
    split = layout.split
    ids = _category_ids(layout.document) | {
        segment["category_id"]
        for _, segment in _segments_of(layout.document)
        if type(segment.get("category_id")) is int
    }
    if ids and _is_train_ids("cityscapes", ids):
        layout.issues.report("cityscapes-train-ids", f"categories {min(ids)} to {max(ids)}")
    elif not layout.document and layout.tree.exists(f"gtFine/cityscapes_panoptic_{split}_trainId.json"):
        layout.issues.report(
            "cityscapes-train-ids", f"gtFine/cityscapes_panoptic_{split}_trainId.json is the only one"
        )
    _check_groups(layout)
    images = {
        PurePosixPath(path).parent.name
        for path in layout.tree.list(f"leftImg8bit/{split}", suffixes=(".png",))
    }
    labels = {
        PurePosixPath(path).parent.name for path in layout.tree.list(f"gtFine/{split}", suffixes=(".png",))
    }
    for city in sorted(labels - images):
        layout.issues.report("cityscapes-city-missing", f"leftImg8bit/{split}/{city}")
    for city in (
        sorted(images - labels) if labels else ()
    ):  # without label files, only the panoptic files are used
        layout.issues.report("cityscapes-city-missing", f"gtFine/{split}/{city}")
    for stem in layout.names(f"gtFine/{split}", "_gtFine_labelIds.png"):
        _check_cityscapes_labels(layout, f"gtFine/{split}/{stem}_gtFine")


def _check_groups(layout: Layout) -> None:
    things = {category.id for category in Vocabulary.named("cityscapes").categories if category.is_thing}
    for image_id, segment in _segments_of(layout.document):
        ids = segment.get("id"), segment.get("category_id")
        is_group = all(type(id) is int and id in things for id in ids)
        if is_group and segment.get("iscrowd") == 0:
            layout.issues.report("cityscapes-group-not-crowd", f"image {image_id}, segment {ids[0]}")


def _check_cityscapes_labels(layout: Layout, prefix: str) -> None:
    """Compare the three label files of an image: label ids, train ids and instance ids."""
    labels = layout.values(f"{prefix}_labelIds.png")
    if labels is None:
        return
    if labels.max() > CITYSCAPES_LABELS:
        layout.issues.report("cityscapes-label-unknown", f"{prefix}_labelIds.png: {labels.max()}")
        return
    train = layout.values(f"{prefix}_labelTrainIds.png")
    if train is not None:
        expected = np.full(CITYSCAPES_LABELS + 1, 255)
        for train_id, category in enumerate(Vocabulary.named("cityscapes").categories):
            expected[category.id] = train_id
        _compare(
            layout, "cityscapes-train-labels-differ", f"{prefix}_labelTrainIds.png", train, expected[labels]
        )
    instances = layout.values(f"{prefix}_instanceIds.png")
    if instances is not None:
        numbered = instances >= CITYSCAPES_GROUPS
        own = np.where(numbered, instances // CITYSCAPES_GROUPS, instances)
        for label in sorted(set(np.unique(own[numbered]).tolist()) - set(CITYSCAPES_WITH_INSTANCES)):
            layout.issues.report("cityscapes-stuff-instance", f"{prefix}_instanceIds.png: label {label}")
        _compare(layout, "cityscapes-instances-differ", f"{prefix}_instanceIds.png", own, labels)


def _compare(layout: Layout, code: str, path: str, values: np.ndarray, expected: np.ndarray) -> None:
    if values.shape != expected.shape:
        layout.issues.report(code, f"{path}: size differs")
    elif count := int((values != expected).sum()):
        layout.issues.report(code, f"{path}: {count} pixels")


def _check_mapillary(layout: Layout) -> None:
    count = len(_category_ids(layout.document))
    if count >= MAPILLARY_2_CATEGORIES:
        layout.issues.report("mapillary-version", f"panoptic JSON: {count} categories")
    long = LONG_SPLITS.get(layout.split, layout.split)
    nested = layout.tree.list(f"{long}/v1.2/labels", suffixes=(".png",))
    folder = f"{long}/v1.2/labels" if nested else f"{long}/labels"
    for stem in layout.names(folder, ".png"):
        _check_mapillary_labels(layout, f"{folder}/{stem}.png")


def _check_mapillary_labels(layout: Layout, path: str) -> None:
    try:
        with Image.open(io.BytesIO(layout.tree.read(path)), formats=OPENED_FORMATS) as image:
            mode = image.mode
    except (DatasetError, OSError, Image.DecompressionBombError) as error:
        layout.issues.report("labels-unusable", f"{path}: {error}")
        return
    if mode in ("RGB", "RGBA"):
        layout.issues.report("mapillary-labels-rgb", f"{path}: mode {mode}")
        return
    labels = layout.values(path)
    if labels is not None and labels.max() > MAPILLARY_UNLABELED:
        layout.issues.report("mapillary-label-unknown", f"{path}: {labels.max()}")


CHECKS: dict[str, Callable[[Layout], None]] = {
    "coco": _check_coco,
    "ade20k": _check_ade20k,
    "cityscapes": _check_cityscapes,
    "mapillary": _check_mapillary,
}
