"""A folder of Labelme files: one JSON per image with named shapes."""

import base64
import binascii
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from ovrcoat.data.files import FileTree
from ovrcoat.data.image_index import ImageIndex, without_suffix
from ovrcoat.data.instance_dataset import InstanceDataset, LabeledShapes, Polygon, Shape, Size
from ovrcoat.data.shape_reading import raise_without_masks, read_polygon, report_unknown_labels
from ovrcoat.data.splits import SPLIT_FOLDERS, choose_split
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import ImageId
from ovrcoat.formats.json_files import parse_json_object
from ovrcoat.formats.limits import LABEL_BYTES, MAX_PIXELS, decoding_problem
from ovrcoat.formats.panoptic_json import is_integer, read_categories, report_unlabeled
from ovrcoat.issues import IssueList
from ovrcoat.system.json_values import as_integer
from ovrcoat.vocabulary import Category
from ovrcoat.vocabulary.loading import NO_CLASS

FORMAT = (
    'Labelme\'s format: {"shapes": [{"label", "points", "shape_type"}], "imagePath", "imageHeight", '
    '"imageWidth"}'
)
MAX_CANDIDATES = 20  # JSON files that are opened to recognize the format
NAMES = "labels.txt"
CIRCLE_POINTS = 64
ADVICE = "A Labelme folder consists of images and one JSON per image (docs/datasets.md)."


def find_labelme_files(tree: FileTree, split: str | None) -> tuple[tuple[str, ...], str | None] | None:
    """Return the label files of a split and its name, or None if the folder has no Labelme files.

    Raises:
        DatasetError: The folder has several splits, but not the requested one.
    """
    listed = tree.list("", suffixes=(".json",))
    if not any("shapes" in _parse(tree, path) for path in listed[:MAX_CANDIDATES]):
        return None
    by_split: dict[str | None, list[str]] = {}
    for path in listed:
        folder = path.split("/", 1)[0].lower() if "/" in path else None
        by_split.setdefault(folder if folder in SPLIT_FOLDERS else None, []).append(path)
    found = [name for name in by_split if name is not None]
    if not found:
        return listed, None
    chosen = choose_split(found, split, name=str(tree.root))
    return tuple(by_split[chosen]), chosen


@dataclass(slots=True)
class _Group:
    """Shapes that together are one object."""

    label: str
    polygons: list[Polygon] = field(default_factory=list)
    masks: list[tuple[int, int, np.ndarray]] = field(default_factory=list)


class LabelmeFolder(InstanceDataset):
    """Images and one JSON per image. Shapes of one label and group_id are one object.

    The categories are the lines of labels.txt, or else all labels that occur, in alphabetical order.
    "__ignore__" and "_background_" stand for no class. Points and lines enclose nothing and are left out.

    Args:
        tree: The files.
        name: Name of the dataset.
        files: Paths of the label files.
        split: Name of the split; None if there are no splits.

    Raises:
        DatasetError: A file is malformed, or there is no shape to use.
    """

    def __init__(self, tree: FileTree, *, name: str, files: Sequence[str], split: str | None) -> None:
        issues = IssueList()
        index = ImageIndex(tree)
        sizes: dict[ImageId, Size] = {}
        groups: dict[ImageId, tuple[str, str, list[_Group]]] = {}
        for path in files:
            data = _parse(tree, path)
            if "shapes" not in data:
                message = "JSON files are not in Labelme's format and are left out"
                issues.add("not-labelme", message, example=path, severity="warning")
                continue
            image_id = without_suffix(path)
            image = _find_image(index, data, path)
            if size := _stated_size(data):
                sizes[image_id] = size
            groups[image_id] = (image, path, _read_groups(data, issues, path=path))
        found = [group for _, _, listed in groups.values() for group in listed]
        categories, id_of = _read_categories(tree, found, issues)
        unknown: Counter[str] = Counter()
        labels = {
            image_id: LabeledShapes(image, path, _to_shapes(listed, id_of, unknown))
            for image_id, (image, path, listed) in groups.items()
        }
        report_unknown_labels(issues, unknown, severity="warning")
        used = {entry.image for entry in labels.values()}
        for image in index.paths:
            if image not in used and (split is None or image.lower().startswith(f"{split}/")):
                report_unlabeled(issues, image)
        issues.raise_errors(str(tree.root))
        if not any(entry.shapes for entry in labels.values()):
            raise_without_masks(issues, str(tree.root))
        super().__init__(
            tree,
            name=name,
            split=split,
            categories=categories,
            labels=labels,
            issues=tuple(issues),
            advice=ADVICE,
            sizes=sizes,
        )


def _parse(tree: FileTree, path: str) -> dict[str, Any]:
    return parse_json_object(tree.read(path), location=tree.describe(path), expected=FORMAT)


def _find_image(index: ImageIndex, data: dict[str, Any], path: str) -> str:
    """Return the path of a label file's image, which may not exist."""
    folder = str(PurePosixPath(path).parent)
    folder = "" if folder == "." else folder
    stated = data.get("imagePath")
    name = stated if isinstance(stated, str) and stated else f"{PurePosixPath(path).stem}.jpg"
    same_stem = index.find_stem(without_suffix(path))
    return (
        index.find(name, folder=folder) or same_stem or str(PurePosixPath(folder) / PurePosixPath(name).name)
    )


def _stated_size(data: dict[str, Any]) -> Size | None:
    height, width = as_integer(data.get("imageHeight")), as_integer(data.get("imageWidth"))
    if is_integer(height) and is_integer(width) and height > 0 and width > 0 and height * width <= MAX_PIXELS:
        return height, width
    return None


def _read_groups(data: dict[str, Any], issues: IssueList, *, path: str) -> list[_Group]:
    """Return the objects of one file."""
    shapes = data["shapes"]
    groups: dict[object, _Group] = {}
    for number, shape in enumerate(shapes if isinstance(shapes, list) else [], start=1):
        label = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(label, str) or not label.strip():
            issues.add("shape-invalid", 'shapes lack a "label"; add it', example=f"{path}: shape {number}")
            continue
        if label.strip() in NO_CLASS:
            continue
        group_id = shape.get("group_id")
        key = (label, group_id) if isinstance(group_id, int | str) else number
        group = groups.get(key, _Group(label.strip()))
        if _add_shape(group, shape):
            groups[key] = group
            continue
        message = "shapes enclose no area (points, lines, fewer than 3 points) and are left out"
        example = f"{path}: shape {number}, {shape.get('shape_type', 'polygon')}"
        issues.add("shape-without-area", message, example=example, severity="warning")
    return list(groups.values())


def _add_shape(group: _Group, shape: dict[str, Any]) -> bool:
    """Add the polygon or the mask of a shape to its object; return whether it has any."""
    kind = shape.get("shape_type") or "polygon"
    points = shape.get("points")
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 for point in points
    ):
        return False
    flat = [value for point in points for value in point]
    if kind == "mask":
        mask = _decode_mask(shape.get("mask"))
        corner = read_polygon(flat[:2] * 3)
        if mask is None or corner is None:
            return False
        left, top = (round(value) for value in corner[0].tolist())
        group.masks.append((top, left, mask))
        return True
    if kind in ("rectangle", "circle") and len(points) == 2:
        corners = read_polygon(flat * 2)  # checks the values
        if corners is None:
            return False
        group.polygons.append(_rectangle(corners) if kind == "rectangle" else _circle(corners))
        return True
    polygon = read_polygon(flat) if kind in ("polygon", "rectangle", "oriented_rectangle") else None
    if polygon is not None:
        group.polygons.append(polygon)
    return polygon is not None


def _rectangle(corners: Polygon) -> Polygon:
    (x1, y1), (x2, y2) = corners[0], corners[1]
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def _circle(corners: Polygon) -> Polygon:
    """Return a circle as a polygon; its two points are the center and one on the circle."""
    center, other = corners[0], corners[1]
    radius = math.hypot(*(other - center))
    angles = np.arange(CIRCLE_POINTS) * (2 * math.pi / CIRCLE_POINTS)
    return center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _decode_mask(text: object) -> np.ndarray | None:
    """Return the mask of a shape, which is a PNG in Base64."""
    if not isinstance(text, str):
        return None
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",))
        if decoding_problem(image.width, image.height, pixel_bytes=LABEL_BYTES):
            return None
        return np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, SyntaxError, binascii.Error, Image.DecompressionBombError):
        return None


def _read_categories(
    tree: FileTree, groups: Iterable[_Group], issues: IssueList
) -> tuple[tuple[Category, ...], dict[str, int]]:
    """Return the categories, and the id of each label; labels that differ only in spelling share one."""
    if tree.exists(NAMES):
        lines = tree.read(NAMES).decode("utf-8-sig", errors="replace").splitlines()
        labels = [line.strip() for line in lines if line.strip() and line.strip() not in NO_CLASS]
    else:
        labels = sorted({group.label for group in groups})
    if not labels:
        raise DatasetError(f"{tree.root}: the Labelme files have no labeled shape. {ADVICE}")
    entries = [{"id": id, "name": label} for id, label in enumerate(labels, start=1)]
    categories = read_categories({"categories": entries}, location=tree.describe(NAMES), issues=issues)
    first: dict[str, Category] = {}
    for category in categories:
        first.setdefault(category.name, category)
    id_of = {label: first[category.name].id for label, category in zip(labels, categories, strict=True)}
    return tuple(first.values()), id_of


def _to_shapes(groups: Sequence[_Group], id_of: dict[str, int], unknown: Counter[str]) -> tuple[Shape, ...]:
    """Return the shapes of one file; labels without a category are counted in `unknown`."""
    shapes = []
    for group in groups:
        if group.label not in id_of:
            unknown[group.label] += 1
            continue
        category_id = id_of[group.label]
        if group.polygons:
            shapes.append(Shape(category_id, tuple(group.polygons)))
        shapes += [Shape(category_id, mask=mask) for mask in group.masks]
    return tuple(shapes)
