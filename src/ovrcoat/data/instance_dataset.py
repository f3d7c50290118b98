"""Base class of datasets whose labels are polygons or masks of single objects: COCO instances, YOLO, Labelme.

Instances become panoptic ground truth by one rule, so that a folder serves all tasks: stuff is merged by
category and lies below things, a smaller thing covers a larger one, a crowd is below all other things, and
pixels of no instance are void. Instances for mask AP keep their complete masks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from ovrcoat.data.files import FileTree
from ovrcoat.data.fingerprint import combine
from ovrcoat.data.image_index import upright_size
from ovrcoat.data.instances import image_entry, mask_entry
from ovrcoat.data.panoptic_dataset import FileDataset
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import AREA_NOT_GIVEN, ImageId, Record, SegmentAnnotation
from ovrcoat.formats.panoptic_png import VOID
from ovrcoat.formats.polygons import fill_polygon
from ovrcoat.issues import Issue
from ovrcoat.vocabulary import Category

Polygon: TypeAlias = Float[np.ndarray, "_ 2"]  # (x, y) in pixels
Size = tuple[int, int]  # (height, width) in pixels


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One labeled object.

    Attributes:
        category_id: Id of its category.
        polygons: Its parts. Their union is its mask.
        mask: A mask, if it was labeled as pixels: the mask's upper left corner (y, x) in the image, and the
            mask.
        is_crowd: True for a group of objects.
    """

    category_id: int
    polygons: tuple[Polygon, ...] = ()
    mask: tuple[int, int, Bool[np.ndarray, "height width"]] | None = None
    is_crowd: bool = False

    def draw(self, size: Size) -> Bool[np.ndarray, "height width"]:
        """Return the mask in an image of this size."""
        height, width = size
        drawn = np.zeros(size, dtype=np.bool_)
        for polygon in self.polygons:
            drawn |= fill_polygon(polygon, height=height, width=width)
        if self.mask is not None:
            top, left, mask = self.mask
            part = drawn[max(top, 0) : top + mask.shape[0], max(left, 0) : left + mask.shape[1]]
            y, x = max(-top, 0), max(-left, 0)
            part |= mask[y : y + part.shape[0], x : x + part.shape[1]]
        return drawn


@dataclass(frozen=True, slots=True, eq=False)
class LabeledShapes:
    """The labels of one image.

    Attributes:
        image: Path of the image.
        labels: Path of the file with its labels.
        shapes: The objects; empty for an image without any.
    """

    image: str
    labels: str
    shapes: tuple[Shape, ...]


class InstanceDataset(FileDataset):
    """A dataset with a list of shapes for each image. Subclasses read the shapes.

    Args:
        tree: The files.
        name: Name of the dataset.
        split: Name of the split; None if there are no splits.
        categories: The categories.
        labels: Labels by image id.
        issues: What was noticed while reading.
        advice: Appended to messages about missing files.
        sizes: Sizes of upright images, as far as the label files state them.
    """

    def __init__(
        self,
        tree: FileTree,
        *,
        name: str,
        split: str | None,
        categories: tuple[Category, ...],
        labels: Mapping[ImageId, LabeledShapes],
        issues: Sequence[Issue],
        advice: str,
        sizes: Mapping[ImageId, Size] | None = None,
    ) -> None:
        self._sizes = sizes or {}
        self._shapes = {image_id: entry.shapes for image_id, entry in labels.items()}
        self._stuff = frozenset(category.id for category in categories if not category.is_thing)
        super().__init__(
            tree,
            name=name,
            split=split,
            categories=categories,
            records=tuple(
                Record(image_id, entry.image, entry.labels, tuple(self._segments(entry.shapes)))
                for image_id, entry in labels.items()
            ),
            tasks=frozenset(("panoptic", "semantic", "instance")),
            advice=advice,
            issues=issues,
        )

    def size(self, record: Record) -> Size:
        """Return the size that the labels state, or else that of the upright image.

        Raises:
            DatasetError: The labels state no size, and the image is missing or damaged.
        """
        known = self._sizes.get(record.image_id)
        return known or upright_size(self.image(record), location=self.tree.describe(record.image))

    def shapes(self, record: Record, size: Size) -> Sequence[Shape]:
        """Return the shapes of an image; polygons are in pixels of an image of this size."""
        return self._shapes[record.image_id]

    def panoptic(self, record: Record) -> PanopticTruth:
        """Return panoptic ground truth by the rule of this module; completely covered segments are left out.

        Raises:
            DatasetError: The image is missing or damaged.
        """
        size = self.size(record)
        id_map = np.full(size, VOID, dtype=np.int32)
        shapes = self.shapes(record, size)
        numbered = zip(self._segment_ids(shapes), shapes, strict=True)
        drawn = [(id, shape, self._draw(record, shape, size)) for id, shape in numbered]
        drawn.sort(key=lambda item: (self._layer(item[1]), -int(item[2].sum())))
        for id, _, mask in drawn:
            id_map[mask] = id
        found, areas = np.unique(id_map, return_counts=True)
        area_of = dict(zip(found.tolist(), areas.tolist(), strict=True))
        segments = (
            SegmentAnnotation(segment.id, segment.category_id, area_of[segment.id], segment.is_crowd)
            for segment in record.segments
            if segment.id in area_of
        )
        return PanopticTruth(id_map, tuple(segments))

    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """Return all things in COCO's format, with their complete masks as run lengths.

        Raises:
            DatasetError: As for `panoptic`.
            MissingExtraError: pycocotools is not installed.
        """
        images, annotations = [], list[dict[str, Any]]()
        for record in records:
            height, width = self.size(record)
            images.append(image_entry(record, height=height, width=width))
            for shape in self.shapes(record, (height, width)):
                if shape.category_id in self._stuff:
                    continue
                mask = self._draw(record, shape, (height, width))
                if mask.any():
                    annotations.append(
                        {
                            "id": len(annotations) + 1,
                            "image_id": record.image_id,
                            "category_id": shape.category_id,
                            "iscrowd": int(shape.is_crowd),
                            **mask_entry(mask),
                        }
                    )
        things = [
            {"id": category.id, "name": category.name} for category in self.categories if category.is_thing
        ]
        return {"images": images, "annotations": annotations, "categories": things}

    def label_files(self, record: Record) -> Sequence[str]:
        """Return no path: the shapes that were read are hashed, since many images can share a file."""
        return ()

    def record_fingerprint(self, record: Record) -> str:
        """Return a hash of the image's shapes and the size of its file."""
        parts = [super().record_fingerprint(record)]
        for shape in self._shapes[record.image_id]:
            parts += [repr((shape.category_id, shape.is_crowd)), *(p.tobytes().hex() for p in shape.polygons)]
            if shape.mask is not None:
                top, left, mask = shape.mask
                parts.append(repr((top, left, mask.shape)) + np.packbits(mask).tobytes().hex())
        return combine(parts)

    def _draw(self, record: Record, shape: Shape, size: Size) -> Bool[np.ndarray, "height width"]:
        if shape.mask is not None and any(np.greater(shape.mask[2].shape, size)):
            height, width = shape.mask[2].shape
            raise DatasetError(
                f"{self.tree.describe(record.labels)}: a mask of {record.image} has {width} × {height} "
                f"pixels, the image has {size[1]} × {size[0]}; masks must have the size of their image"
            )
        return shape.draw(size)

    def _layer(self, shape: Shape) -> int:
        """Return the order of painting; later layers cover earlier ones."""
        return 0 if shape.category_id in self._stuff else 1 if shape.is_crowd else 2

    def _segment_ids(self, shapes: Iterable[Shape]) -> list[int]:
        """Return the segment id of each shape: 1, 2, ...; shapes of one stuff category share an id."""
        ids: list[int] = []
        stuff: dict[int, int] = {}
        count = 0
        for shape in shapes:
            if shape.category_id in stuff:
                ids.append(stuff[shape.category_id])
                continue
            count += 1
            ids.append(count)
            if shape.category_id in self._stuff:
                stuff[shape.category_id] = count
        return ids

    def _segments(self, shapes: Sequence[Shape]) -> Iterable[SegmentAnnotation]:
        """Return the segments of an image without their areas, which need its size."""
        found: dict[int, SegmentAnnotation] = {}
        for id, shape in zip(self._segment_ids(shapes), shapes, strict=True):
            is_crowd = shape.is_crowd and shape.category_id not in self._stuff
            found.setdefault(id, SegmentAnnotation(id, shape.category_id, AREA_NOT_GIVEN, is_crowd))
        return found.values()
