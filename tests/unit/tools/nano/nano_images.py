"""Small folders of labeled images and of class images."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

EDGE = 40


def pixels(seed: int) -> np.ndarray:
    """A noisy image of one color."""
    random = np.random.default_rng(seed)
    noise = random.integers(-20, 21, (EDGE, EDGE, 3))
    return (random.integers(0, 256, 3) + noise).clip(0, 255).astype(np.uint8)


def labeled_folder(folder: Path, *, images: int = 6) -> Path:
    """Each image: a cat on the left, sky on the right, a tiny dog, a crowd of dogs, one row without label."""
    for name in ("images", "panoptic"):
        (folder / name).mkdir(parents=True)
    ids = np.zeros((EDGE, EDGE), dtype=np.int32)
    ids[1:, :20], ids[1:, 20:], ids[5, 5], ids[30:, 30:] = 7, 300, 9, 11
    segments = [
        {"id": id, "category_id": category, "area": 10, "bbox": [0, 0, 1, 1], "iscrowd": crowd}
        for id, category, crowd in ((7, 1, 0), (300, 3, 0), (9, 2, 0), (11, 2, 1))
    ]
    entries, annotations = [], []
    for number in range(images):
        Image.fromarray(pixels(number)).save(folder / "images" / f"{number}.png")
        rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / "panoptic" / f"{number}.png")
        entries.append({"id": number, "file_name": f"{number}.png", "height": EDGE, "width": EDGE})
        annotation = {"image_id": number, "file_name": f"{number}.png", "segments_info": segments}
        annotations.append(annotation)
    names = ((1, "cat", 1), (2, "dog", 1), (3, "sky", 0))
    categories = [{"id": id, "name": name, "isthing": thing} for id, name, thing in names]
    document = {"images": entries, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(document))
    return folder


def class_image_folder(folder: Path, wnids: Sequence[str]) -> Path:
    """One image per WordNet id."""
    (folder / "images").mkdir(parents=True)
    entries = [{"file_name": f"{wnid}.png", "wnid": wnid, "name": "?"} for wnid in wnids]
    for seed, entry in enumerate(entries):
        Image.fromarray(pixels(100 + seed)).save(folder / "images" / entry["file_name"])
    (folder / "labels.json").write_text(json.dumps(entries))
    return folder
