"""Base classes of datasets in files: images and panoptic PNGs from a file tree, records from a JSON."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int32

from ovrcoat.choices import Task
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.files import FileTree
from ovrcoat.data.fingerprint import combine, record_fingerprint
from ovrcoat.data.instances import image_entry, mask_entry
from ovrcoat.data.label_images import decode_ids
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import AREA_NOT_GIVEN, ImageId, Record, SegmentAnnotation
from ovrcoat.issues import Issue
from ovrcoat.vocabulary import Category

FINGERPRINT_THREADS = 8  # reading is limited by latency, above all on network drives


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
        issues: Sequence[Issue] = (),
    ) -> None:
        self.tree = tree
        self.name = name
        self.split = split
        self.categories = categories
        self.records = records
        self.tasks = tasks
        self.advice = advice
        self.issues = issues

    def image(self, record: Record) -> bytes:
        """Return the content of the image file.

        Raises:
            DatasetError: The file is missing; the message lists the folders that were searched.
        """
        return self.tree.read(record.image, advice=self.advice)

    def label_files(self, record: Record) -> Sequence[str]:
        """Return the paths of the files from which ground truth of an image may be read."""
        return (record.labels,)

    def documents(self) -> Sequence[str]:
        """Return the paths of files with ground truth of many images that `records` does not contain."""
        return ()

    def schema_fingerprint(self) -> str:
        """Return a hash of the split and the categories."""
        return combine([repr((self.split, self.categories))])

    def record_fingerprint(self, record: Record) -> str:
        """Return a hash of one image's labels, including the bytes of its label files."""
        return record_fingerprint(record, self.tree, labels=self.label_files(record))

    def fingerprint(self) -> str:
        """Return a hash of all categories, labels and files; a folder and its zip file have the same hash.

        It reads every label file: 5,000 files of 20 kB in the file cache take about 1 s.
        """
        documents = [self.tree.checksum(path) for path in self.documents()]
        with ThreadPoolExecutor(FINGERPRINT_THREADS) as pool:
            records = pool.map(self.record_fingerprint, self.records)
            return combine([self.schema_fingerprint(), repr(documents), *records])


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
        return PanopticTruth(id_map, with_counted_areas(record.segments, id_map))

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


def with_counted_areas(
    segments: tuple[SegmentAnnotation, ...], id_map: Int32[np.ndarray, "height width"]
) -> tuple[SegmentAnnotation, ...]:
    """Return segments whose missing areas are replaced by their number of pixels."""
    if all(segment.area != AREA_NOT_GIVEN for segment in segments):
        return segments
    return tuple(
        replace(segment, area=int((id_map == segment.id).sum()))
        if segment.area == AREA_NOT_GIVEN
        else segment
        for segment in segments
    )


def ids_in(id_map: Int32[np.ndarray, "height width"]) -> set[int]:
    """Return the distinct values of a map; examines only changes, which is faster than sorting all pixels."""
    flat = id_map.ravel()
    changes = flat[1:][flat[1:] != flat[:-1]]
    return {*flat[:1].tolist(), *np.unique(changes).tolist()}
