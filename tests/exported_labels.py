"""One labeled image in the formats in which other tools export it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 6, 8
ROAD = [0, 3, 8, 3, 8, 6, 0, 6]  # x y x y ...: the lower half
CAR = [1, 1, 5, 1, 5, 5, 1, 5]
WHEEL = [2, 3, 4, 3, 4, 5, 2, 5]
SHAPES = (("road", ROAD), ("car", CAR), ("wheel", WHEEL))
# road is stuff and lies below the car, which the smaller wheel covers
CATEGORY_MAP = np.zeros((HEIGHT, WIDTH), np.int32)
CATEGORY_MAP[3:] = 1
CATEGORY_MAP[1:5, 1:5] = 2
CATEGORY_MAP[3:5, 2:4] = 3


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 60)).save(path)


def coco_document(file_name: str = "one.png", **changes: Any) -> dict[str, Any]:
    """A document as Roboflow writes it: its first category is the project."""
    return {
        "info": {},
        "images": [{"id": 0, "file_name": file_name, "height": HEIGHT, "width": WIDTH}],
        "categories": [
            {"id": 0, "name": "things", "supercategory": "none"},
            *({"id": id, "name": name, "supercategory": "things"} for id, (name, _) in enumerate(SHAPES, 1)),
        ],
        "annotations": [
            {
                "id": id,
                "image_id": 0,
                "category_id": id,
                "segmentation": [points],
                "area": 8.0,
                "bbox": [0, 0, 1, 1],
                "iscrowd": 0,
            }
            for id, (_, points) in enumerate(SHAPES, 1)
        ],
    } | changes


def write_coco(
    root: Path, *, document: str = "_annotations.coco.json", image: str = "one.png", **changes: Any
) -> Path:
    write_image(root / image)
    path = root / document
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(coco_document(**changes)))
    return root


def yolo_lines() -> str:
    scale = np.array([WIDTH, HEIGHT] * 4)
    rows = [(np.array(points) / scale).tolist() for _, points in SHAPES]
    return "".join(f"{id} {' '.join(map(str, row))}\n" for id, row in enumerate(rows))


def write_yolo(root: Path, *, folder: str = "", lines: str | None = None, names: str | None = None) -> Path:
    """Ultralytics: images/train; Roboflow: train/images, which `folder` selects by its %s."""
    images = folder.replace("%s", "images") if folder else "images"
    labels = folder.replace("%s", "labels") if folder else "labels"
    write_image(root / images / "one.png")
    (root / labels).mkdir(parents=True)
    (root / labels / "one.txt").write_text(yolo_lines() if lines is None else lines)
    text = "train: ../train/images\nnc: 3\nnames: ['road', 'car', 'wheel']\n" if names is None else names
    (root / "data.yaml").write_text(text)
    return root


def labelme_document(**changes: Any) -> dict[str, Any]:
    shapes = [
        {
            "label": name,
            "points": np.reshape(points, (4, 2)).tolist(),
            "group_id": None,
            "shape_type": "polygon",
        }
        for name, points in SHAPES
    ]
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": "..\\photos\\one.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    } | changes


def write_labelme(root: Path, **changes: Any) -> Path:
    write_image(root / "one.png")
    (root / "one.json").write_text(json.dumps(labelme_document(**changes)))
    return root
