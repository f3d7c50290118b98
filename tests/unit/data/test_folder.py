import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_samples import ID_MAP, id_png, own_folder, put, put_zip
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.errors import DatasetError


def opened(form: str, tmp_path: Path) -> Dataset:
    files = own_folder()
    if form == "folder":
        return open_dataset(put(tmp_path / "pets", files))
    if form == "zip":
        return open_dataset(str(put_zip(tmp_path / "pets.zip", files)))
    return open_dataset(put_zip(tmp_path / "pets.zip", {f"top/{name}": files[name] for name in files}))


@pytest.mark.parametrize("form", ["folder", "zip", "zip with a folder"])
def test_images_and_truth(form: str, tmp_path: Path):
    pytest.importorskip("pycocotools")
    dataset = opened(form, tmp_path)
    (record,) = dataset.records
    assert (dataset.name, dataset.split, len(dataset)) == ("pets", None, 1)
    assert dataset.tasks == {"panoptic", "semantic", "instance"}
    assert [category.names for category in dataset.vocabulary.categories] == [("cat", "kitty"), ("sky",)]
    assert dataset.image(record) == b"the image"
    np.testing.assert_array_equal(dataset.panoptic(record).id_map, ID_MAP)
    assert dataset.panoptic(record).segments == record.segments
    np.testing.assert_array_equal(dataset.semantic(record), [[0, 0, 1, 1], [0, 0, 0, -1]])
    instances = dataset.instances(dataset.records)
    found = [(one["id"], one["category_id"], one["iscrowd"], one["area"]) for one in instances["annotations"]]
    assert found == [(1, 10, 0, 4), (2, 10, 1, 1)]
    assert [one["bbox"] for one in instances["annotations"]] == [[0, 0, 2, 2], [2, 1, 1, 1]]
    assert instances["images"] == [{"id": 9, "file_name": "one.jpg", "width": 4, "height": 2}]
    assert instances["categories"] == [{"id": 10, "name": "cat"}]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside pycocotools
def test_masks_of_instances_are_those_of_the_segments(tmp_path: Path):
    codec = pytest.importorskip("pycocotools.mask")
    dataset = opened("folder", tmp_path)
    masks = [codec.decode(one["segmentation"]) for one in dataset.instances(dataset.records)["annotations"]]
    np.testing.assert_array_equal(masks, [ID_MAP == 5, ID_MAP == 70_001])


def test_the_fingerprint_is_the_same_for_a_zip_and_another_for_other_labels(tmp_path: Path):
    folder, packed = opened("folder", tmp_path), opened("zip", tmp_path)
    assert folder.fingerprint() == packed.fingerprint()
    assert len(folder.fingerprint()) == 16
    files = own_folder()
    files["panoptic.json"]["annotations"][0]["segments_info"][0]["area"] = 3
    assert open_dataset(put(tmp_path / "other" / "pets", files)).fingerprint() != folder.fingerprint()


def test_a_missing_image_is_reported(tmp_path: Path):
    dataset = opened("folder", tmp_path)
    (tmp_path / "pets" / "images" / "one.jpg").unlink()
    with pytest.raises(DatasetError, match=r"images/one\.jpg not found; looked in .*pets.*docs/datasets\.md"):
        dataset.image(dataset.records[0])


def test_labels_of_another_size_are_reported(tmp_path: Path):
    dataset = opened("folder", tmp_path)
    put(tmp_path / "pets", {"panoptic/one.png": id_png(ID_MAP.T)})
    with pytest.raises(DatasetError, match=r"one\.png: 2 × 4 pixels, but the JSON states 4 × 2 for image 9"):
        dataset.panoptic(dataset.records[0])


def test_segments_that_the_json_lacks_are_reported(tmp_path: Path):
    dataset = opened("folder", tmp_path)
    put(tmp_path / "pets", {"panoptic/one.png": id_png(ID_MAP + (ID_MAP == 5))})
    with pytest.raises(DatasetError, match=r"the PNG holds 1 segments that are not in the JSON, e\.g\. 6"):
        dataset.panoptic(dataset.records[0])


def test_a_segment_without_pixels_is_taken_as_it_is(tmp_path: Path):
    pytest.importorskip("pycocotools")
    dataset = opened("folder", tmp_path)
    put(tmp_path / "pets", {"panoptic/one.png": id_png(np.where(ID_MAP == 5, 0, ID_MAP))})
    assert len(dataset.panoptic(dataset.records[0]).segments) == 3
    assert len(dataset.instances(dataset.records)["annotations"]) == 1


def test_a_invalid_json_is_reported_on_opening(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"panoptic\.json: \"categories\" is empty"):
        open_dataset(put(tmp_path, own_folder(categories=[])))


def test_missing_areas_are_counted(tmp_path: Path):
    files = own_folder()
    for segment in files["panoptic.json"]["annotations"][0]["segments_info"]:
        del segment["area"]
    dataset = open_dataset(put(tmp_path / "pets", files))
    truth = dataset.panoptic(dataset.records[0])
    assert [segment.area for segment in truth.segments] == [4, 2, 1]
    assert [issue.code for issue in dataset.issues] == ["area"]


def test_a_conversion_to_a_palette_is_named(tmp_path: Path):
    ids = np.where(ID_MAP == 0, 70_001, ID_MAP) + np.arange(4, dtype=np.int32)
    image = Image.open(io.BytesIO(id_png(ids))).convert("P")
    dataset = open_dataset(put(tmp_path / "pets", own_folder()))
    image.save(tmp_path / "pets" / "panoptic" / "one.png")
    with pytest.raises(DatasetError, match=r"one\.png.*8-bit palette; expected 8-bit RGB"):
        dataset.panoptic(dataset.records[0])


def test_the_fingerprint_covers_the_bytes_of_labels_but_no_path_and_no_time(tmp_path: Path):
    folder = put(tmp_path / "pets", own_folder())
    dataset = open_dataset(folder)
    before = dataset.fingerprint(), dataset.record_fingerprint(dataset.records[0])
    copy = shutil.copytree(folder, tmp_path / "other name", copy_function=shutil.copyfile)
    assert open_dataset(copy).fingerprint() == before[0]
    put(folder, {"panoptic/one.png": id_png(np.where(ID_MAP == 5, 0, ID_MAP))})
    assert dataset.fingerprint() != before[0]
    assert dataset.record_fingerprint(dataset.records[0]) != before[1]


def test_the_fingerprint_covers_the_size_of_images_and_the_bytes_of_uncompressed_ones(tmp_path: Path):
    files = own_folder()
    files["panoptic.json"]["images"][0]["file_name"] = "one.bmp"
    files["images/one.bmp"] = b"the image"
    dataset = open_dataset(put(tmp_path / "pets", files))
    before = dataset.fingerprint()
    put(tmp_path / "pets", {"images/one.bmp": b"THE image"})
    assert dataset.fingerprint() != before
