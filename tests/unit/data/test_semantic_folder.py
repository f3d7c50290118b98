from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_samples import picture, put, put_zip
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.files import FileTree
from ovrcoat.data.semantic_folder import SemanticFolderDataset
from ovrcoat.errors import DatasetError

LABELS = np.array([[7, 8], [255, 7]], dtype=np.uint8)


def street(**changes: Any) -> dict[str, Any]:
    files = {
        "images/a.jpg": b"image",
        "images/deep/b.png": b"other image",
        "images/unlabelled.jpg": b"",
        "labels/a.png": LABELS,
        "labels/deep/b.png": LABELS,
        "names.txt": "7: road, street\n8: sky#stuff\n",
    }
    return {name: content for name, content in (files | changes).items() if content is not None}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_images_and_labels_are_paired_by_name(form: str, tmp_path: Path):
    path = (
        put(tmp_path / "street", street()) if form == "folder" else put_zip(tmp_path / "street.zip", street())
    )
    dataset = open_dataset(path)
    assert [record.image_id for record in dataset.records] == ["a", "deep/b"]
    assert (dataset.name, dataset.split, dataset.tasks) == ("street", None, {"semantic"})
    assert [category.names for category in dataset.categories] == [("road", "street"), ("sky",)]
    assert dataset.image(dataset.records[1]) == b"other image"
    np.testing.assert_array_equal(dataset.semantic(dataset.records[0]), [[0, 1], [-1, 0]])


def test_16_bits_and_tiff(tmp_path: Path):
    values = np.array([[300, 65_535]], dtype=np.uint16)
    files = {
        "images/a.jpg": b"",
        "labels/a.tif": picture(values, form="TIFF"),
        "names.json": [{"name": "sea", "id": 300}],
    }
    dataset = open_dataset(put(tmp_path, files))
    np.testing.assert_array_equal(dataset.semantic(dataset.records[0]), [[0, -1]])


@pytest.mark.parametrize(
    "names",
    [
        {"names.json": {"categories": [{"name": "road", "id": 7}], "ignore": [8, 255]}},
        {"names.yaml": "categories: [{name: road, id: 7}]\nignore: [8, 255]\n"},
        {"names.yml": "categories: [{name: road, id: 7}]\nignore: [8, 255]\n"},
    ],
)
def test_values_can_be_ignored(names: dict[str, Any], tmp_path: Path):
    dataset = open_dataset(put(tmp_path, street(**{"names.txt": None}, **names)))
    np.testing.assert_array_equal(dataset.semantic(dataset.records[0]), [[0, -1], [-1, 0]])


def test_a_category_may_have_the_id_that_is_ignored_elsewhere(tmp_path: Path):
    dataset = open_dataset(put(tmp_path, street(**{"names.txt": "7: road\n8: sky\n255: sea\n"})))
    np.testing.assert_array_equal(dataset.semantic(dataset.records[0]), [[0, 1], [2, 0]])


def test_names_of_labelme_count_from_the_background(tmp_path: Path):
    names = "__ignore__\n_background_\nsky_area\nroad\n"
    labels = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    files = street(**{"names.txt": names, "labels/a.png": labels})
    dataset = open_dataset(put(tmp_path, files))
    assert [category.name for category in dataset.categories] == ["sky area", "road"]
    np.testing.assert_array_equal(dataset.semantic(dataset.records[0]), [[-1, 0], [1, -1]])
    assert "name-code" in {issue.code for issue in dataset.issues}


def test_an_unnamed_value_is_no_void(tmp_path: Path):
    dataset = open_dataset(put(tmp_path, street(**{"names.txt": "road\nsky\n"})))  # ids 1 and 2
    with pytest.raises(DatasetError, match=r"a\.png: pixels hold 7, 8, .* \"ignore\": \[0, 255\]"):
        dataset.semantic(dataset.records[0])


def test_labels_without_image_are_reported(tmp_path: Path):
    with pytest.raises(
        DatasetError, match=r"1 label files have no image of that name in images/, e\.g\. a\."
    ):
        open_dataset(put(tmp_path, street(**{"images/a.jpg": None})))


def test_no_labels_are_reported(tmp_path: Path):
    files = street(**{"labels/a.png": None, "labels/deep/b.png": None})
    with pytest.raises(DatasetError, match="no labels in labels/"):
        SemanticFolderDataset(FileTree(put(tmp_path, files), home="street"), name="street")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, r"names\.json or names\.yaml or names\.yml or names\.txt not found"),
        ("# only a comment\n", r"names\.txt: this file contains no class names"),
        ("7: road\n7: street\n", r"names\.txt: several categories have the id 7"),
        ("road#stone", r"names\.txt: .*expected #thing or #stuff"),
    ],
)
def test_invalid_names_are_reported(names: str | None, message: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(put(tmp_path / "street", street(**{"names.txt": names})))
    assert str(tmp_path / "street") in str(caught.value)


@pytest.mark.parametrize("ignore", [255, ["255"], [True], [0.5]])
def test_a_invalid_list_of_ignored_values_is_reported(ignore: Any, tmp_path: Path):
    names = {"categories": [{"name": "road", "id": 7}], "ignore": ignore}
    with pytest.raises(DatasetError, match=r'names\.json: "ignore" is .* expected a list of pixel values'):
        open_dataset(put(tmp_path, street(**{"names.json": names})))


def test_there_is_no_other_truth(tmp_path: Path):
    dataset = open_dataset(put(tmp_path, street()))
    with pytest.raises(
        DatasetError, match="semantic labels contain no panoptic ground truth; choose the task semantic"
    ):
        dataset.panoptic(dataset.records[0])
    with pytest.raises(DatasetError, match="semantic labels contain no instance ground truth"):
        dataset.instances(dataset.records)
