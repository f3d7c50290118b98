"""Small panoptic ground truth and predictions as files, valid until a test breaks something."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [
    {"id": 1, "name": "cat", "isthing": 1},
    {"id": 7, "name": "wall", "isthing": 0},
]
TRUE_IDS = [[5, 5, 5, 0], [5, 5, 70_000, 70_000], [70_000, 70_000, 70_000, 70_000]]
PREDICTED_IDS = [[9, 9, 2, 2], [9, 9, 2, 2], [2, 2, 2, 2]]


def truth_document() -> dict[str, Any]:
    """Two images with the segments of `TRUE_IDS`."""
    return {
        "images": [{"id": id, "file_name": f"{id}.jpg", "width": 4, "height": 3} for id in (1, 2)],
        "categories": [dict(category) for category in CATEGORIES],
        "annotations": [
            {
                "image_id": id,
                "file_name": f"{id}.png",
                "segments_info": [
                    {"id": 5, "category_id": 1, "area": 5, "iscrowd": 0},
                    {"id": 70_000, "category_id": 7, "area": 6, "iscrowd": 0},
                ],
            }
            for id in (1, 2)
        ],
    }


def prediction_document() -> dict[str, Any]:
    """Predictions for both images, with the segments of `PREDICTED_IDS`."""
    segments = [{"id": 9, "category_id": 1}, {"id": 2, "category_id": 7}]
    return {
        "annotations": [
            {"image_id": id, "file_name": f"{id}.png", "segments_info": [dict(part) for part in segments]}
            for id in (1, 2)
        ]
    }


def id_map_to_image(ids: object) -> Image.Image:
    """Encode a panoptic PNG, independently of the package."""
    values = np.array(ids, dtype=np.int64)
    return Image.fromarray(
        np.stack([values & 255, values >> 8 & 255, values >> 16], axis=-1).astype(np.uint8)
    )


def write_pair(root: Path, truth: object = None, prediction: object = None) -> tuple[Path, Path, Path, Path]:
    """Write both sides; returns ground-truth JSON, its folder, predicted JSON, its folder."""
    sides = (
        ("truth", truth or truth_document(), TRUE_IDS),
        ("prediction", prediction or prediction_document(), PREDICTED_IDS),
    )
    for name, document, ids in sides:
        (root / name).mkdir(parents=True)
        (root / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
        for id in (1, 2):
            id_map_to_image(ids).save(root / name / f"{id}.png")
    return root / "truth.json", root / "truth", root / "prediction.json", root / "prediction"
