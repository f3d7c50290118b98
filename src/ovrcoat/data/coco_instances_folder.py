"""A folder with a JSON in COCO's instances format, as Roboflow, CVAT, Label Studio and others export it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ovrcoat.data.files import FileTree
from ovrcoat.data.image_index import ImageIndex
from ovrcoat.data.instance_dataset import InstanceDataset, LabeledShapes, Shape, Size
from ovrcoat.data.instances import INSTANCES_FORMAT
from ovrcoat.data.shape_reading import raise_without_masks, read_polygon, report_box, report_unknown_labels
from ovrcoat.data.splits import SPLIT_FOLDERS, choose_split
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import ImageId
from ovrcoat.formats.json_files import parse_json_object
from ovrcoat.formats.limits import MAX_PIXELS
from ovrcoat.formats.panoptic_json import is_image_id, is_integer, read_categories, report_unlabeled
from ovrcoat.formats.run_lengths import decode_runs
from ovrcoat.issues import IssueList
from ovrcoat.system.json_values import as_integer
from ovrcoat.vocabulary.foreign import root_categories

ROBOFLOW = "_annotations.coco.json"
MAX_CANDIDATES = 20  # JSON files that are opened to find the one with labels
KEYS = ("images", "annotations", "categories")
ADVICE = "A COCO instances folder consists of the JSON and its images (docs/datasets.md)."


@dataclass(frozen=True, slots=True)
class Source:
    """The JSON that was found.

    Attributes:
        path: Path of the JSON.
        data: Its content.
        split: Name of the split; None if the folder has only one JSON.
    """

    path: str
    data: dict[str, Any]
    split: str | None


def find_coco_instances(tree: FileTree, split: str | None) -> Source | None:
    """Return the JSON of a folder in COCO's instances format, or None if there is none.

    Raises:
        DatasetError: The folder has several splits, but not the requested one; or no JSON can be read.
    """
    listed = tree.list("", suffixes=(".json",))
    exported = [path for path in listed if PurePosixPath(path).name == ROBOFLOW]
    near = [path for path in listed if path.count("/") == 0 or path.startswith("annotations/")]
    found: dict[str, dict[str, Any]] = {}
    errors: list[DatasetError] = []
    for path in (exported or near)[:MAX_CANDIDATES]:
        try:
            data = parse_json_object(tree.read(path), location=tree.describe(path), expected=INSTANCES_FORMAT)
        except DatasetError as error:  # perhaps not the file with labels
            errors.append(error)
            continue
        if "shapes" in data:  # Labelme, with one file per image
            return None
        if all(isinstance(data.get(key), list) for key in KEYS) and not _is_panoptic(data):
            found[path] = data
    if not found and errors:
        raise errors[0]
    if not found:
        return None
    if len(found) == 1:
        ((path, data),) = found.items()
        return Source(path, data, _split_of(path))
    splits = {_split_of(path) or path: path for path in found}
    chosen = choose_split(tuple(splits), split, name=str(tree.root))
    return Source(splits[chosen], found[splits[chosen]], chosen)


def _is_panoptic(data: dict[str, Any]) -> bool:
    return any(isinstance(item, dict) and "segments_info" in item for item in data["annotations"][:1])


def _split_of(path: str) -> str | None:
    """Return the split in the path of a JSON: "train/x.json" and "annotations/instances_train.json"."""
    words = path.lower().replace(".json", "").replace("_", "/").replace("-", "/").split("/")
    return next((word for word in words if word.rstrip("0123456789") in SPLIT_FOLDERS), None)


class CocoInstancesFolder(InstanceDataset):
    """Images and one JSON with polygons or run lengths.

    Args:
        tree: The files.
        name: Name of the dataset.
        source: The JSON, see `find_coco_instances`.

    Raises:
        DatasetError: The JSON is malformed, or holds no masks but only boxes.
    """

    def __init__(self, tree: FileTree, *, name: str, source: Source) -> None:
        location = tree.describe(source.path)
        issues = IssueList()
        groups = set(root_categories(source.data))
        listed = [
            item
            for item in source.data["categories"]
            if not (isinstance(item, dict) and str(item.get("name")) in groups)
        ]
        categories = read_categories({"categories": listed}, location=location, issues=issues)
        reader = _Reader(tree, source, frozenset(category.id for category in categories), issues)
        labels = reader.read()
        issues.raise_errors(location)
        super().__init__(
            tree,
            name=name,
            split=source.split,
            categories=categories,
            labels=labels,
            issues=tuple(issues),
            advice=ADVICE,
            sizes=reader.sizes,
        )


class _Reader:
    """Reads images and annotations; everything that cannot be used is counted in `issues`."""

    def __init__(
        self, tree: FileTree, source: Source, category_ids: frozenset[int], issues: IssueList
    ) -> None:
        self.sizes: dict[ImageId, Size] = {}
        self._tree = tree
        self._source = source
        self._category_ids = category_ids
        self._issues = issues

    def read(self) -> dict[ImageId, LabeledShapes]:
        """Return the labels of the images that have any annotation, by image id."""
        paths = self._read_images()
        shapes: dict[ImageId, list[Shape]] = {}
        unknown: Counter[str] = Counter()
        for annotation in _objects(self._source.data["annotations"]):
            image_id = as_integer(annotation.get("image_id"))
            if not is_image_id(image_id) or image_id not in paths:
                message = 'annotations refer to an image that is not in "images"'
                self._issues.add("no-image", message, example=f"image {image_id!r}")
                continue
            category_id = as_integer(annotation.get("category_id"))
            if not is_integer(category_id) or category_id not in self._category_ids:
                unknown[repr(category_id)] += 1
                continue
            shapes.setdefault(image_id, [])
            if (shape := self._read_shape(annotation, category_id, image_id)) is not None:
                shapes[image_id].append(shape)
        report_unknown_labels(self._issues, unknown, severity="error")
        for image_id, path in paths.items():
            if image_id not in shapes:
                report_unlabeled(self._issues, path)
        self._report_outcome([shape for found in shapes.values() for shape in found])
        return {
            image_id: LabeledShapes(path, self._source.path, tuple(shapes[image_id]))
            for image_id, path in paths.items()
            if image_id in shapes
        }

    def _read_images(self) -> dict[ImageId, str]:
        index = ImageIndex(self._tree)
        folder = str(PurePosixPath(self._source.path).parent)
        folder = "" if folder == "." else folder
        paths: dict[ImageId, str] = {}
        for item in _objects(self._source.data["images"]):
            id, name = as_integer(item.get("id")), item.get("file_name")
            if not is_image_id(id) or not isinstance(name, str) or not name:
                self._issues.add("bad-image", 'images lack "id" or "file_name"', example=repr(item)[:80])
                continue
            if id in paths:
                self._issues.add("image-id-twice", "images share an id", example=repr(id))
                continue
            paths[id] = index.find(name, folder=folder) or str(
                PurePosixPath(folder) / PurePosixPath(name).name
            )
            height, width = as_integer(item.get("height")), as_integer(item.get("width"))
            if not (is_integer(height) and is_integer(width) and height > 0 and width > 0):
                continue
            if height * width <= MAX_PIXELS:  # else the size of the image itself is used
                self.sizes[id] = (height, width)
        return paths

    def _read_shape(self, annotation: dict[str, Any], category_id: int, image_id: ImageId) -> Shape | None:
        is_crowd = annotation.get("iscrowd") == 1
        segmentation = annotation.get("segmentation")
        example = f"image {image_id!r}, annotation {annotation.get('id')!r}"
        if isinstance(segmentation, dict):
            mask = decode_runs(segmentation)
            if mask is not None:
                return Shape(category_id, mask=(0, 0, mask), is_crowd=is_crowd)
        elif isinstance(segmentation, list) and segmentation:
            polygons = tuple(polygon for item in segmentation if (polygon := read_polygon(item)) is not None)
            if polygons:
                return Shape(category_id, polygons, is_crowd=is_crowd)
        elif not segmentation:
            report_box(self._issues, example)
            return None
        message = "masks are neither polygons of at least 3 points nor run lengths; they are left out"
        self._issues.add("mask-invalid", message, example=example, severity="warning")
        return None

    def _report_outcome(self, shapes: list[Shape]) -> None:
        location = self._tree.describe(self._source.path)
        if not shapes:
            raise_without_masks(self._issues, location)
        if all(shape.is_crowd for shape in shapes):
            self._issues.add(
                "only-crowds",
                "every object is a crowd (iscrowd 1), which counts neither as found nor as missed, so every "
                "score would be undefined; CVAT writes masks that were drawn with the brush this way: set "
                "iscrowd to 0",
                example=f"{len(shapes)} objects",
            )


def _objects(items: list[Any]) -> Iterator[dict[str, Any]]:
    return (item for item in items if isinstance(item, dict))
