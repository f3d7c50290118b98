from pathlib import Path

import numpy as np
import pytest

from dataset_samples import picture, put
from ovrcoat.data.ade20k import Ade20k
from ovrcoat.data.ade20k_panoptic import prepare_ade20k
from ovrcoat.errors import DatasetError
from release_samples import ade20k

STEM = "ADE_val_00000001"


def test_without_panoptic_files_the_rest_can_be_used(tmp_path: Path):
    pytest.importorskip("pycocotools")
    dataset = Ade20k(put(tmp_path / "ADEChallengeData2016", ade20k()))
    (record,) = dataset.records
    assert (record.image_id, dataset.tasks) == (STEM, {"semantic", "instance"})
    assert dataset.image(record) == b"image"
    np.testing.assert_array_equal(dataset.semantic(record), [[0, 0, 7, 2], [0, 0, 7, -1]])
    instances = dataset.instances(dataset.records)
    assert [(one["id"], one["category_id"], one["area"]) for one in instances["annotations"]] == [
        (1, 7, 2),
        (2, 8, 1),
    ]
    assert len(instances["categories"]) == 100
    with pytest.raises(DatasetError, match=r"ade20k_panoptic_val\.json not found; .* ovrcoat prepare ade20k"):
        dataset.panoptic(record)


def test_the_converted_semantic_labels_do_as_well(tmp_path: Path):
    files = ade20k()
    del files[f"annotations/validation/{STEM}.png"]
    converted = np.array([[0, 255]], dtype=np.uint8)
    dataset = Ade20k(
        put(tmp_path, {**files, f"annotations_detectron2/validation/{STEM}.png": picture(converted)})
    )
    np.testing.assert_array_equal(dataset.semantic(dataset.records[0]), [[0, -1]])


def test_prepared_files_are_taken(tmp_path: Path):
    pytest.importorskip("pycocotools")
    root = put(tmp_path / "ADEChallengeData2016", ade20k())
    by_hand = Ade20k(root).instances(Ade20k(root).records)
    prepare_ade20k(root)
    dataset = Ade20k(root)
    assert dataset.tasks == {"panoptic", "semantic", "instance"}
    assert dataset.instances(dataset.records) == by_hand
    assert dataset.panoptic(dataset.records[0]).segments[0].category_id == 0


def test_values_that_are_no_category_are_reported(tmp_path: Path):
    wrong = picture(np.array([[151]], dtype=np.uint8))
    dataset = Ade20k(put(tmp_path, {**ade20k(), f"annotations/validation/{STEM}.png": wrong}))
    with pytest.raises(DatasetError, match=r"pixels hold 151, .* Expected 0 \(other\) and 1 to 150"):
        dataset.semantic(dataset.records[0])


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ([[(101, 1, 0)]], r"instance 1 \(green\) has the class 101 \(red\), expected one from 1 to 100"),
        ([[(1, 4, 0), (2, 4, 0)]], r"instance 4 \(green\) has the class 1 and 2 \(red\)"),
        ([[(0, 4, 0)]], r"instance 4 \(green\) has the class 0 \(red\)"),
    ],
)
def test_invalid_instance_labels_are_reported(pixels: list, message: str, tmp_path: Path):
    faulty = picture(np.array(pixels, dtype=np.uint8))
    dataset = Ade20k(put(tmp_path, {**ade20k(), f"annotations_instance/validation/{STEM}.png": faulty}))
    with pytest.raises(DatasetError, match=message):
        dataset.instances(dataset.records)


def test_missing_instance_labels_are_reported(tmp_path: Path):
    files = {name: content for name, content in ade20k().items() if "instance" not in name}
    dataset = Ade20k(put(tmp_path, files))
    assert dataset.tasks == {"semantic"}
    with pytest.raises(DatasetError, match=r"annotations_instance/.* \(tar xf annotations_instance\.tar"):
        dataset.instances(dataset.records)
