"""Tiny labeled datasets, written by the tests themselves."""

import io
import json
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ID_MAP = np.array([[5, 5, 300, 300], [5, 5, 70_001, 0]], dtype=np.int32)
SEGMENTS = [
    {"id": 5, "category_id": 10, "area": 4, "iscrowd": 0, "bbox": [0, 0, 2, 2]},
    {"id": 300, "category_id": 20, "area": 2, "iscrowd": 0, "bbox": [2, 0, 2, 1]},
    {"id": 70_001, "category_id": 10, "area": 1, "iscrowd": 1, "bbox": [2, 1, 1, 1]},
]


def document(**changes: Any) -> dict[str, Any]:
    """A panoptic JSON of one image, 4 × 2 pixels."""
    return {
        "images": [{"id": 9, "file_name": "one.jpg", "width": 4, "height": 2}],
        "annotations": [{"image_id": 9, "file_name": "one.png", "segments_info": deepcopy(SEGMENTS)}],
        "categories": [
            {"id": 10, "name": "cat, kitty", "isthing": 1},
            {"id": 20, "name": "sky", "isthing": 0},
        ],
    } | changes


def id_png(id_map: np.ndarray) -> bytes:
    rgb = np.stack([id_map & 255, id_map >> 8 & 255, id_map >> 16], axis=-1).astype(np.uint8)
    return picture(rgb)


def picture(values: np.ndarray, *, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format=form)
    return buffer.getvalue()


def put(root: Path, files: dict[str, Any]) -> Path:
    """Write files below `root`: bytes and text as they are, arrays as PNG, anything else as JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_bytes(content))
    return root


def put_zip(path: Path, files: dict[str, Any]) -> Path:
    """The same as members of a zip file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, as_bytes(content))
    return path


def as_bytes(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    return picture(content) if isinstance(content, np.ndarray) else json.dumps(content).encode()


def own_folder(**changes: Any) -> dict[str, Any]:
    """The files of a panoptic folder."""
    return {
        "panoptic.json": document(**changes),
        "panoptic/one.png": id_png(ID_MAP),
        "images/one.jpg": b"the image",
    }
