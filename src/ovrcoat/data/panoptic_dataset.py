"""What the data sets with panoptic labels share: records from a JSON, images and id PNGs from a file tree."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from ovrcoat.config import Task
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.files import FileTree
from ovrcoat.data.label_images import decode_ids
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Category


class FileDataset(Dataset):
    """A data set whose images lie in a file tree.

    Attributes:
        advice: end of messages about missing files: where they can be had.
    """

    def __init__(
        self,
        tree: FileTree,
        *,
        name: str,
        split: str | None,
        categories: tuple[Category, ...],
        records: Sequence[Record],
        tasks: frozenset[Task],
        advice: str,
    ) -> None:
        self.tree = tree
        self.name = name
        self.split = split
        self.categories = categories
        self.records = records
        self.tasks = tasks
        self.advice = advice

    def image(self, record: Record) -> bytes:
        """The encoded photo.

        Raises:
            DatasetError: the file is missing; says where it was looked for.
        """
        return self.tree.read(record.image, advice=self.advice)

    def fingerprint(self) -> str:
        """A short hash of all records and categories; the same for a folder and for its zip."""
        digest = hashlib.sha256(repr((self.name, self.split, self.categories)).encode())
        for record in self.records:
            files = PurePosixPath(record.image).name, PurePosixPath(record.labels).name
            digest.update(repr((record.image_id, files, record.segments)).encode())
        return digest.hexdigest()[:16]


class PanopticDataset(FileDataset):
    """A data set with a panoptic JSON, if that is there: without it only other tasks have a truth.

    Attributes:
        document_path: where the panoptic JSON is, or would be.
        sizes: (height, width) of the images as the panoptic JSON gives them.
    """

    document_path: str
    sizes: dict[ImageId, tuple[int, int]]

    def panoptic(self, record: Record) -> PanopticTruth:
        """The panoptic truth of a photo.

        A segment of the JSON that has no pixel is no fault here: ADE20K's published conversion has such.

        Raises:
            DatasetError: the file is missing or damaged, has another size than the JSON says, or holds ids
                that the JSON lacks; or there is no panoptic JSON.
        """
        if "panoptic" not in self.tasks:
            raise self.tree.missing(self.document_path, advice=self.advice)
        content = self.tree.read(record.labels, advice=self.advice)
        place = self.tree.describe(record.labels)
        id_map = decode_ids(content, place=place)
        expected = self.sizes.get(record.image_id, id_map.shape)
        if id_map.shape != expected:
            raise DatasetError(
                f"{place}: {id_map.shape[1]} × {id_map.shape[0]} pixels, but the JSON says "
                f"{expected[1]} × {expected[0]} for image {record.image_id!r}; labels must have "
                "their image's size"
            )
        unknown = ids_in(id_map) - {segment.id for segment in record.segments} - {0}
        if unknown:
            shown = ", ".join(map(str, sorted(unknown)[:5]))
            raise DatasetError(
                f"{place}: the picture holds segments that the JSON lacks: {len(unknown)}, e.g. {shown}; "
                "picture and JSON belong to different versions, take both from one source"
            )
        return PanopticTruth(id_map, record.segments)

    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """The things of the panoptic truth in COCO's format, masks as run lengths.

        Raises:
            DatasetError: as for `panoptic`.
            MissingExtraError: pycocotools is not installed.
        """
        things = [category for category in self.categories if category.is_thing]
        thing_ids = {category.id for category in things}
        images, annotations = [], list[dict[str, Any]]()
        for record in records:
            truth = self.panoptic(record)
            height, width = truth.id_map.shape
            images.append(image_entry(record, height=height, width=width))
            for segment in truth.segments:
                mask = truth.id_map == segment.id
                if segment.category_id in thing_ids and mask.any():
                    annotations.append(
                        {
                            "id": len(annotations) + 1,
                            "image_id": record.image_id,
                            "category_id": segment.category_id,
                            "iscrowd": int(segment.is_crowd),
                            **mask_entry(mask),
                        }
                    )
        return {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": category.id, "name": category.name} for category in things],
        }


def ids_in(id_map: Int32[np.ndarray, "height width"]) -> set[int]:
    """The values of a map; looks only where they change, which is far quicker than sorting all pixels."""
    flat = id_map.ravel()
    changes = flat[1:][flat[1:] != flat[:-1]]
    return {*flat[:1].tolist(), *np.unique(changes).tolist()}


def image_entry(record: Record, *, height: int, width: int) -> dict[str, Any]:
    """Entry of `images` in COCO's formats."""
    file_name = PurePosixPath(record.image).name
    return {"id": record.image_id, "file_name": file_name, "width": width, "height": height}


def bbox_of(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """[x, y, width, height] of a mask that is not empty, in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def mask_entry(mask: Bool[np.ndarray, "height width"]) -> dict[str, Any]:
    """Area, box and run lengths of a mask that is not empty, as COCO's instances have them.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    codec = import_optional("pycocotools.mask", extra="coco")
    runs = codec.encode(np.asfortranarray(mask.view(np.uint8)))
    segmentation = {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")}
    return {"area": int(mask.sum()), "bbox": bbox_of(mask), "segmentation": segmentation}
