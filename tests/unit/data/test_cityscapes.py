from pathlib import Path

import numpy as np
import pytest

from dataset_samples import picture, put
from ovrcoat.data.cityscapes import Cityscapes
from ovrcoat.data.cityscapes_panoptic import prepare_cityscapes
from ovrcoat.errors import DatasetError
from release_samples import cityscapes

STEM = "gtFine/val/ulm/ulm_000001_000002_gtFine"
CAR, PERSON = 13, 11  # train ids


def test_without_panoptic_files_the_semantic_truth_can_be_used(tmp_path: Path):
    dataset = Cityscapes(put(tmp_path / "cityscapes", cityscapes()))
    (record,) = dataset.records
    assert (record.image_id, dataset.tasks) == ("ulm_000001_000002", {"semantic"})
    assert dataset.image(record) == b"image"
    np.testing.assert_array_equal(dataset.semantic(record), [[0, 0, CAR, -1], [0, PERSON, CAR, -1]])
    with pytest.raises(DatasetError, match=r"cityscapes_panoptic_val\.json .* ovrcoat prepare cityscapes"):
        dataset.panoptic(record)


def test_train_ids_come_first(tmp_path: Path):
    train_ids = picture(np.array([[18, 255]], dtype=np.uint8))
    dataset = Cityscapes(put(tmp_path, {**cityscapes(), f"{STEM}_labelTrainIds.png": train_ids}))
    assert len(dataset) == 1
    np.testing.assert_array_equal(dataset.semantic(dataset.records[0]), [[18, -1]])


@pytest.mark.parametrize(("name", "value"), [("labelIds", 34), ("labelTrainIds", 19)])
def test_values_that_are_no_label_are_reported(name: str, value: int, tmp_path: Path):
    wrong = picture(np.array([[value]], dtype=np.uint8))
    dataset = Cityscapes(put(tmp_path, {**cityscapes(), f"{STEM}_{name}.png": wrong}))
    with pytest.raises(DatasetError, match=f"pixels hold {value}, .* Use labelIds or labelTrainIds"):
        dataset.semantic(dataset.records[0])


@pytest.mark.parametrize("image_id", ["../../../../secret/x", "/secret/x", "..\\\\secret", "x_\\u0000"])
def test_image_ids_do_not_lead_outside(tmp_path: Path, image_id: str):
    root = put(tmp_path / "cityscapes", cityscapes())
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x_leftImg8bit.png").write_bytes(b"secret")
    (document,) = prepare_cityscapes(root).documents
    document.write_text(document.read_text().replace('"ulm_000001_000002"', f'"{image_id}"'))
    dataset = Cityscapes(root)
    (record,) = dataset.records
    for read in (dataset.image, dataset.semantic):
        with pytest.raises(DatasetError, match="not found"):
            read(record)


def test_images_are_found_by_image_id(tmp_path: Path):
    root = put(tmp_path, cityscapes())
    (document,) = prepare_cityscapes(root).documents
    text = document.read_text().replace("ulm_000001_000002_leftImg8bit.png", "no_such_file.png")
    document.write_text(text)
    dataset = Cityscapes(root)
    assert dataset.image(dataset.records[0]) == b"image"
    assert dataset.tasks == {"panoptic", "semantic", "instance"}
