import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovrcoat.data.panoptic_folder import DatasetError, PanopticFolder
from ovrcoat.errors import OvrcoatError

SEGMENTS = (
    {"id": 5, "category_id": 10},
    {"id": 300, "category_id": 20, "iscrowd": 0},
    {"id": 70_001, "category_id": 10, "iscrowd": 1},
)


def write_folder(root: Path, *, label_size: tuple[int, int] = (4, 6)) -> None:
    """One photo of 4 × 6 pixels with two segments and a crowd."""
    (root / "images").mkdir()
    (root / "panoptic").mkdir()
    pixels = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(pixels).save(root / "images" / "one.png")
    ids = np.zeros(label_size, dtype=np.int64)
    ids[1], ids[2], ids[3] = 5, 300, 70_001
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65_536], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(root / "panoptic" / "one_labels.png")
    data: dict[str, Any] = {
        "images": [{"id": 9, "file_name": "one.png"}],
        "annotations": [{"image_id": 9, "file_name": "one_labels.png", "segments_info": SEGMENTS}],
        "categories": [{"id": 10, "name": "cat"}, {"id": 20, "name": "sky"}],
    }
    (root / "panoptic.json").write_text(json.dumps(data))


def test_a_photo_comes_with_its_segments(tmp_path: Path):
    write_folder(tmp_path)
    folder = PanopticFolder(str(tmp_path))
    assert len(folder) == 1
    photo = folder[0]
    assert photo.file_name == "one.png"
    np.testing.assert_array_equal(photo.pixels, np.arange(72, dtype=np.uint8).reshape(4, 6, 3))
    np.testing.assert_array_equal(photo.id_map[:, 0], [0, 5, 300, 70_001])
    assert photo.segment_ids == (5, 300)  # not the crowd
    assert photo.names == ("cat", "sky")


def test_a_grey_photo_becomes_rgb(tmp_path: Path):
    write_folder(tmp_path)
    Image.new("L", (6, 4), 77).save(tmp_path / "images" / "one.png")
    assert PanopticFolder(tmp_path)[0].pixels.shape == (4, 6, 3)


def test_a_folder_without_labels_is_told(tmp_path: Path):
    with pytest.raises(
        DatasetError, match=r"panoptic\.json not found; a data set folder holds images/"
    ) as caught:
        PanopticFolder(tmp_path)
    assert isinstance(caught.value, OvrcoatError)


def test_labels_of_another_size_are_told(tmp_path: Path):
    write_folder(tmp_path, label_size=(5, 6))
    with pytest.raises(DatasetError, match=r"one_labels\.png has 6 × 5 pixels, its photo one\.png 6 × 4"):
        PanopticFolder(tmp_path)[0]
