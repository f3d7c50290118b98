"""Base classes of datasets in files: images and panoptic PNGs from a file tree, records from a JSON."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.config import Task
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.files import FileTree
from ovrcoat.data.instances import image_entry, mask_entry
from ovrcoat.data.label_images import decode_ids
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.vocabulary import Category


class FileDataset(Dataset):
    """A dataset whose files are in a file tree.

    Attributes:
        tree: The files.
        advice: Appended to messages about missing files; says where to get them.
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
        """Return the content of the image file.

        Raises:
            DatasetError: The file is missing; the message lists the folders that were searched.
        """
        return self.tree.read(record.image, advice=self.advice)

    def fingerprint(self) -> str:
        """Return a short hash of all records and categories; a folder and its zip file have the same hash."""
        digest = hashlib.sha256(repr((self.name, self.split, self.categories)).encode())
        for record in self.records:
            files = PurePosixPath(record.image).name, PurePosixPath(record.labels).name
            digest.update(repr((record.image_id, files, record.segments)).encode())
        return digest.hexdigest()[:16]


class PanopticDataset(FileDataset):
    """A dataset with a panoptic JSON. If the JSON is missing, ground truth exists only for other tasks.

    Attributes:
        document_path: Path of the panoptic JSON, whether it exists or not.
        sizes: (height, width) in pixels of the images, as stated in the panoptic JSON.
    """

    document_path: str
    sizes: dict[ImageId, tuple[int, int]]

    def panoptic(self, record: Record) -> PanopticTruth:
        """Return the panoptic ground truth of an image.

        Segments in the JSON without pixels are accepted, because ADE20K's published conversion has some.

        Raises:
            DatasetError: The file is missing or damaged, its size differs from the JSON, it holds ids that
                are not in the JSON, or there is no panoptic JSON.
        """
        if "panoptic" not in self.tasks:
            raise self.tree.missing(self.document_path, advice=self.advice)
        content = self.tree.read(record.labels, advice=self.advice)
        location = self.tree.describe(record.labels)
        id_map = decode_ids(content, location=location)
        expected = self.sizes.get(record.image_id, id_map.shape)
        if id_map.shape != expected:
            raise DatasetError(
                f"{location}: {id_map.shape[1]} × {id_map.shape[0]} pixels, but the JSON states "
                f"{expected[1]} × {expected[0]} for image {record.image_id!r}; labels must have the size of "
                "their image"
            )
        unknown = ids_in(id_map) - {segment.id for segment in record.segments} - {0}
        if unknown:
            shown = ", ".join(map(str, sorted(unknown)[:5]))
            raise DatasetError(
                f"{location}: the PNG holds {len(unknown)} segments that are not in the JSON, e.g. {shown}; "
                "PNG and JSON belong to different versions: use both from one source"
            )
        return PanopticTruth(id_map, record.segments)

    def instances(self, records: Sequence[Record]) -> dict[str, Any]:
        """Return the things of the panoptic ground truth in COCO's format, with masks as run lengths.

        Raises:
            DatasetError: As for `panoptic`.
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
    """Return the distinct values of a map; examines only changes, which is faster than sorting all pixels."""
    flat = id_map.ravel()
    changes = flat[1:][flat[1:] != flat[:-1]]
    return {*flat[:1].tolist(), *np.unique(changes).tolist()}
