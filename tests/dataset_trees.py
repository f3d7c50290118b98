"""Small valid labeled datasets in the layouts of the releases and of users' own folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovrcoat.vocabulary import Vocabulary

HEIGHT, WIDTH = 4, 6
CITY = "gtFine/val/bonn/bonn_000000_000000_gtFine"
CITY_PHOTO = "leftImg8bit/val/bonn/bonn_000000_000000_leftImg8bit.png"
MAPILLARY_JSON = "validation/panoptic/panoptic_2018.json"


def save(path: Path, values: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path, **options)


def halves(left: int, right: int, kind: Any = np.uint8) -> np.ndarray:
    """A picture of two values."""
    values = np.full((HEIGHT, WIDTH), left, dtype=kind)
    values[:, WIDTH // 2 :] = right
    return values


def write_image(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH), **options: Any) -> None:
    save(path, np.full((*size, 3), 90, np.uint8), **options)


def panoptic(
    document: Path, picture: Path, categories: list[Any], *, image: dict[str, Any], segments: dict[int, int]
) -> None:
    """A panoptic JSON of one image with two segments (id → category) and its PNG."""
    left, right = segments
    ids = halves(left, right, np.int32)
    save(picture, np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8))
    document.parent.mkdir(parents=True, exist_ok=True)
    infos = [
        {"id": id, "category_id": category, "area": 12, "bbox": [0, 0, 3, 4], "iscrowd": 0}
        for id, category in segments.items()
    ]
    annotation = {"image_id": image["id"], "file_name": picture.name, "segments_info": infos}
    content = {
        "images": [image | {"width": WIDTH, "height": HEIGHT}],
        "annotations": [annotation],
        "categories": categories,
    }
    document.write_text(json.dumps(content))


def published(name: str) -> list[dict[str, Any]]:
    categories = Vocabulary.named(name).categories
    return [{"id": c.id, "name": c.name, "isthing": int(c.is_thing)} for c in categories]


def build_own(root: Path) -> None:
    categories = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 2, "name": "wall", "isthing": 0}]
    image = {"id": 5, "file_name": "a.png"}
    panoptic(
        root / "panoptic.json", root / "panoptic/a.png", categories, image=image, segments={7: 1, 300: 2}
    )
    write_image(root / "images/a.png")


def build_semantic(root: Path) -> None:
    write_image(root / "images/a.png")
    save(root / "labels/a.png", halves(0, 1))
    (root / "names.txt").write_text("0: cat\n1: wall\n")


def build_coco(root: Path) -> None:
    image = {"id": 5, "file_name": "000000000005.jpg"}
    panoptic(
        root / "annotations/panoptic_val2017.json",
        root / "panoptic_val2017/000000000005.png",
        published("coco"),
        image=image,
        segments={7: 1, 300: 200},
    )
    write_image(root / "val2017/000000000005.jpg")


def build_ade20k(root: Path) -> None:
    stem = "ADE_val_00000001"
    write_image(root / f"images/validation/{stem}.jpg")
    save(root / f"annotations/validation/{stem}.png", halves(0, 150))
    save(root / f"annotations_detectron2/validation/{stem}.png", halves(255, 149))
    save(root / f"annotations_instance/validation/{stem}.png", np.stack([halves(0, 100)] * 3, axis=-1))
    panoptic(
        root / "ade20k_panoptic_val.json",
        root / f"ade20k_panoptic_val/{stem}.png",
        published("ade20k"),
        image={"id": stem, "file_name": f"{stem}.jpg"},
        segments={7: 0, 300: 149},
    )


def build_cityscapes(root: Path) -> None:
    write_image(root / CITY_PHOTO)
    save(root / f"{CITY}_labelIds.png", halves(7, 26))
    save(root / f"{CITY}_labelTrainIds.png", halves(0, 13))
    save(root / f"{CITY}_instanceIds.png", halves(7, 26000, np.uint16))
    panoptic(
        root / "gtFine/cityscapes_panoptic_val.json",
        root / "gtFine/cityscapes_panoptic_val/bonn_000000_000000_gtFine_panoptic.png",
        published("cityscapes"),
        image={"id": "bonn_000000_000000", "file_name": "bonn_000000_000000_gtFine_leftImg8bit.png"},
        segments={7: 7, 26000: 26},
    )


def build_mapillary(root: Path) -> None:
    write_image(root / "validation/images/x.jpg")
    palette = Image.fromarray(halves(0, 65)).convert("P")
    palette.putdata(halves(0, 65).ravel().tolist())
    (root / "validation/labels").mkdir(parents=True)
    palette.save(root / "validation/labels/x.png")
    panoptic(
        root / MAPILLARY_JSON,
        root / "validation/panoptic/x.png",
        published("mapillary"),
        image={"id": "x", "file_name": "x.jpg"},
        segments={7: 1, 70000: 65},
    )


BUILDERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "own": ("own", build_own),
    "semantic": ("semantic", build_semantic),
    "coco": ("coco", build_coco),
    "ade20k": ("ADEChallengeData2016", build_ade20k),
    "cityscapes": ("cityscapes", build_cityscapes),
    "mapillary": ("mapillary_vistas", build_mapillary),
}


def build(kind: str, parent: Path) -> Path:
    """Builds a valid dataset and returns its own folder."""
    home, builder = BUILDERS[kind]
    builder(parent / home)
    return parent / home
