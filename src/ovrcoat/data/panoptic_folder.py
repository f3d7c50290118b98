"""A folder in COCO-panoptic form: `images/`, `panoptic/` (id PNGs) and `panoptic.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from ovrcoat.errors import DatasetError


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo and its segments; `names` are the categories' names, in the order of `segment_ids`.

    `id_map` is 0 where nothing is labelled; crowd segments are in the map but not in `segment_ids`.
    """

    file_name: str
    pixels: UInt8[np.ndarray, "height width 3"]
    id_map: Int[np.ndarray, "height width"]
    segment_ids: tuple[int, ...]
    names: tuple[str, ...]


class PanopticFolder:
    """Labelled photos by index, read when asked for.

    Raises:
        DatasetError: there is no `panoptic.json`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        path = self.root / "panoptic.json"
        if not path.is_file():
            raise DatasetError(
                f"{path} not found; a data set folder holds images/, panoptic/ and panoptic.json "
                "(COCO's panoptic format)"
            )
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.category_names = {category["id"]: category["name"] for category in data["categories"]}
        files = {image["id"]: image["file_name"] for image in data["images"]}
        self.records = [(files[record["image_id"]], record) for record in data["annotations"]]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> LabelledPhoto:
        """Read one photo with its labels.

        Raises:
            DatasetError: the labels have another size than the photo.
        """
        file_name, record = self.records[index]
        with Image.open(self.root / "images" / file_name) as image:
            pixels = np.asarray(image.convert("RGB"))
        with Image.open(self.root / "panoptic" / record["file_name"]) as image:
            rgb = np.asarray(image.convert("RGB")).astype(np.int32)
        if rgb.shape != pixels.shape:
            raise DatasetError(
                f"{self.root}: {record['file_name']} has {rgb.shape[1]} × {rgb.shape[0]} pixels, its photo "
                f"{file_name} {pixels.shape[1]} × {pixels.shape[0]}; labels must have their photo's size"
            )
        segments = [segment for segment in record["segments_info"] if not segment.get("iscrowd", 0)]
        return LabelledPhoto(
            file_name=file_name,
            pixels=pixels,
            id_map=rgb[..., 0] + 256 * rgb[..., 1] + 65_536 * rgb[..., 2],
            segment_ids=tuple(segment["id"] for segment in segments),
            names=tuple(self.category_names[segment["category_id"]] for segment in segments),
        )
