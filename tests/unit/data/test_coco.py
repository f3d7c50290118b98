from pathlib import Path

import numpy as np
import pytest

from dataset_samples import put, put_zip
from ovrcoat.data.coco import Coco
from ovrcoat.errors import DatasetError
from release_samples import coco


def test_the_release_is_read(tmp_path: Path):
    dataset = Coco(put(tmp_path / "coco", coco()))
    (record,) = dataset.records
    assert (record.image_id, len(dataset.categories), dataset.split) == (7, 133, "val")
    assert dataset.image(record) == b"image"
    sky = [category.id for category in dataset.categories].index(187)
    np.testing.assert_array_equal(dataset.semantic(record), [[0, 0, sky, sky], [0, -1, sky, sky]])


@pytest.mark.parametrize("form", ["unpacked", "zip on disk"])
def test_labels_may_lie_where_the_release_unpacks_them(form: str, tmp_path: Path):
    files = coco()
    labels = files.pop("panoptic_val2017/000000000007.png")
    if form == "unpacked":
        files["annotations/panoptic_val2017/000000000007.png"] = labels
    else:
        inner = {"panoptic_val2017/000000000007.png": labels}
        put_zip(tmp_path / "coco" / "annotations" / "panoptic_val2017.zip", inner)
    dataset = Coco(put(tmp_path / "coco", files))
    assert dataset.panoptic(dataset.records[0]).id_map[0, 0] == 70_000


def test_instances_are_cocos_own(tmp_path: Path):
    dataset = Coco(put(tmp_path, coco()))
    assert dataset.instances(dataset.records) == {
        "images": [{"id": 7}],
        "annotations": [{"id": 4, "image_id": 7, "category_id": 1}],
        "categories": [{"id": 1, "name": "person"}],
    }


def test_missing_instances_are_reported(tmp_path: Path):
    files = coco()
    del files["annotations/instances_val2017.json"]
    dataset = Coco(put(tmp_path, files))
    with pytest.raises(
        DatasetError, match=r"instances_val2017\.json not found; .*annotations_trainval2017\.zip"
    ):
        dataset.instances(dataset.records)


def test_categories_of_another_release_are_reported(tmp_path: Path):
    files = coco()
    files["annotations/panoptic_val2017.json"]["categories"].pop()
    with pytest.raises(
        DatasetError, match=r"panoptic_val2017\.json: the categories are not those of the dataset"
    ):
        Coco(put(tmp_path, files))
