"""COCO's instances format: entries of images and masks, and the selection of some images from a file."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool

from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import Record
from ovrcoat.system.optional_imports import import_optional

INSTANCES_FORMAT = "COCO's instances format: images, annotations and categories, each a list of objects"


def select_instances(data: dict[str, Any], records: Sequence[Record], *, location: str) -> dict[str, Any]:
    """Select the images and annotations of `records` from an instances JSON; keep all categories.

    Raises:
        DatasetError: A list is missing, or the JSON lacks one of the images.
    """
    wanted = {record.image_id for record in records}
    try:
        images = [image for image in data["images"] if image["id"] in wanted]  # 1.0 equals 1
        annotations = [annotation for annotation in data["annotations"] if annotation["image_id"] in wanted]
        categories = data["categories"]
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"{location}: this is not an instances file ({error!r}), expected {INSTANCES_FORMAT}; download "
            "it again"
        ) from error
    missing = wanted - {image["id"] for image in images}
    if missing:
        raise DatasetError(
            f"{location}: {len(missing)} of {len(wanted)} images are missing, e.g. {next(iter(missing))!r}; "
            "use panoptic and instance labels of the same release and split"
        )
    return {"images": images, "annotations": annotations, "categories": categories}


def image_entry(record: Record, *, height: int, width: int) -> dict[str, Any]:
    """Return the entry of `images` in COCO's formats."""
    file_name = PurePosixPath(record.image).name
    return {"id": record.image_id, "file_name": file_name, "width": width, "height": height}


def bbox_of(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Return the bounding box [x, y, width, height] in pixels of a non-empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def mask_entry(mask: Bool[np.ndarray, "height width"]) -> dict[str, Any]:
    """Return area, bounding box and run lengths of a non-empty mask, as in COCO's instances format.

    Raises:
        MissingExtraError: pycocotools is not installed.
    """
    codec = import_optional("pycocotools.mask", extra="coco")
    runs = codec.encode(np.asfortranarray(mask.view(np.uint8)))
    segmentation = {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")}
    return {"area": int(mask.sum()), "bbox": bbox_of(mask), "segmentation": segmentation}
