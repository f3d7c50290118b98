"""A small labelled folder in COCO-panoptic form, whose truth is what a segmenter finds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovrcoat.formats.panoptic_png import id_map_to_image
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.vocabulary import Vocabulary

WORDS = Vocabulary.parse("cat#thing; dog#thing; sky#stuff; road#stuff")
FIRST_ID = 70_000  # of segments: three bytes of a PNG


def make_labelled_folder(folder: Path, segmenter: Segmenter, *, images: int = 3, trust: float = 0.5) -> Path:
    """Write `images` noisy images of 40 × 56 and what `segmenter` finds in them with γ = `trust`."""
    (folder / "images").mkdir(parents=True)
    (folder / "panoptic").mkdir()
    document: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    for category in WORDS.categories:
        entry = {"id": category.id, "name": category.name, "isthing": int(category.is_thing)}
        document["categories"].append(entry)
    for number in range(1, images + 1):
        name = f"photo{number}"
        Image.fromarray(_pixels(number)).save(folder / "images" / f"{name}.png")
        result = segmenter.segment(folder / "images" / f"{name}.png", WORDS, trust=trust, background="none")
        shifted = np.where(result.id_map > 0, result.id_map + FIRST_ID, 0).astype(np.int32)
        id_map_to_image(shifted).save(folder / "panoptic" / f"{name}.png")
        segments = [
            {
                "id": segment.id + FIRST_ID,
                "category_id": segment.category_id,
                "area": segment.area,
                "bbox": list(segment.bbox),
                "iscrowd": 0,
            }
            for segment in result.segments
        ]
        document["images"].append({"id": number, "file_name": f"{name}.png", "height": 40, "width": 56})
        document["annotations"].append(
            {"image_id": number, "file_name": f"{name}.png", "segments_info": segments}
        )
    (folder / "panoptic.json").write_text(json.dumps(document))
    return folder


def _pixels(seed: int) -> np.ndarray:
    """Coloured shapes and noise; another image for each seed."""
    rows, columns = np.mgrid[0:40, 0:56]
    pixels = np.stack([rows * 6, columns * 4, (rows + columns) * 2], axis=-1)
    pixels[10:30, 5 * seed : 5 * seed + 15] = (250, 40, 10 * seed)
    pixels[20:38, 30:50] = (10, 200, 240)
    noise = np.random.default_rng(seed).integers(-8, 9, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)
