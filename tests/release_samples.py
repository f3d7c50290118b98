"""The four published datasets in miniature: one image of 4 × 2 pixels each, created by the tests."""

from typing import Any

import numpy as np

from dataset_samples import id_png, picture
from ovrcoat.vocabulary import Vocabulary


def category_list(preset: str) -> list[dict[str, Any]]:
    return [
        {"id": one.id, "name": one.name, "isthing": int(one.is_thing)}
        for one in Vocabulary.named(preset).categories
    ]


def one_image(image_id: Any, image: str, labels: str, segments: list[tuple[int, int, int]]) -> dict[str, Any]:
    """A panoptic JSON without categories; segments are (id, category, area)."""
    entries = [
        {"id": id, "category_id": category, "area": area, "iscrowd": 0, "bbox": [0, 0, 1, 1]}
        for id, category, area in segments
    ]
    return {
        "images": [{"id": image_id, "file_name": image, "width": 4, "height": 2}],
        "annotations": [{"image_id": image_id, "file_name": labels, "segments_info": entries}],
    }


def coco() -> dict[str, Any]:
    """Person (1) and sky-other-merged (187)."""
    ids = np.array([[70_000, 70_000, 3, 3], [70_000, 0, 3, 3]], dtype=np.int32)
    panoptic = one_image(7, "000000000007.jpg", "000000000007.png", [(70_000, 1, 3), (3, 187, 4)])
    instances = {
        "images": [{"id": 7}, {"id": 8}],
        "annotations": [
            {"id": 4, "image_id": 7, "category_id": 1},
            {"id": 5, "image_id": 8, "category_id": 1},
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    return {
        "annotations/panoptic_val2017.json": panoptic | {"categories": category_list("coco")},
        "annotations/instances_val2017.json": instances,
        "panoptic_val2017/000000000007.png": id_png(ids),
        "val2017/000000000007.jpg": b"image",
    }


def ade20k() -> dict[str, Any]:
    """Wall (1), sky (3) and a bed (8) in the semantic labels; two instances, one over the sky altogether."""
    semantic = np.array([[1, 1, 8, 3], [1, 1, 8, 0]], dtype=np.uint8)
    instances = np.zeros((2, 4, 3), dtype=np.uint8)
    instances[:, 2] = (1, 1, 0)  # class 1 is bed, category id 7
    instances[0, 3] = (2, 2, 0)  # class 2 is windowpane, category id 8
    return {
        "annotations/validation/ADE_val_00000001.png": picture(semantic),
        "annotations_instance/validation/ADE_val_00000001.png": picture(instances),
        "images/validation/ADE_val_00000001.jpg": b"image",
    }


def cityscapes() -> dict[str, Any]:
    """Road (7), a car (26000), a group of persons (24), a parking place (9) and the ego car (1)."""
    instance_ids = np.array([[7, 7, 26_000, 9], [7, 24, 26_000, 1]], dtype=np.uint16)
    label_ids = np.array([[7, 7, 26, 9], [7, 24, 26, 1]], dtype=np.uint8)
    stem = "gtFine/val/ulm/ulm_000001_000002_gtFine"
    return {
        f"{stem}_instanceIds.png": picture(instance_ids),
        f"{stem}_labelIds.png": picture(label_ids),
        "leftImg8bit/val/ulm/ulm_000001_000002_leftImg8bit.png": b"image",
    }


def mapillary(*, nesting: str = "") -> dict[str, Any]:
    """Bird (1) and sky (28)."""
    ids = np.array([[70_000, 70_000, 3, 3], [70_000, 0, 3, 3]], dtype=np.int32)
    labels = np.array([[0, 0, 27, 27], [0, 65, 27, 27]], dtype=np.uint8)
    panoptic = one_image("abc", "abc.jpg", "abc.png", [(70_000, 1, 3), (3, 28, 4)])
    return {
        f"validation/{nesting}panoptic/panoptic_2018.json": panoptic
        | {"categories": category_list("mapillary")},
        f"validation/{nesting}panoptic/abc.png": id_png(ids),
        f"validation/{nesting}labels/abc.png": picture(labels),
        "validation/images/abc.jpg": b"image",
    }
