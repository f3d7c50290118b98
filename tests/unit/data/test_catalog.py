from pathlib import Path

import pytest

import release_samples
from dataset_samples import own_folder, put, put_zip
from ovrcoat.data.catalog import find_root, list_datasets, open_dataset
from ovrcoat.errors import DatasetError


def test_the_names():
    assert list_datasets() == ("coco", "ade20k", "cityscapes", "mapillary")


def test_the_root_is_found_in_this_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OVRCOAT_DATASETS", raising=False)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    assert find_root() == Path("datasets")
    monkeypatch.setenv("DETECTRON2_DATASETS", "theirs")
    assert find_root() == Path("theirs")
    monkeypatch.setenv("OVRCOAT_DATASETS", "ours")
    assert find_root() == Path("ours")
    assert find_root("given") == Path("given")


def test_a_dataset_is_found_below_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "coco", release_samples.coco())
    monkeypatch.delenv("OVRCOAT_DATASETS", raising=False)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert open_dataset("coco").image(open_dataset("coco").records[0]) == b"image"


def test_without_any_root_it_is_reported_how_to_give_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OVRCOAT_DATASETS", raising=False)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    with pytest.raises(
        DatasetError, match=r"coco: the folder of datasets datasets does not exist; .* OVRCOAT_DATASETS"
    ):
        open_dataset("coco")


def test_a_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "coco", own_folder())
    with pytest.raises(DatasetError, match=r"panoptic_val2017\.json not found"):
        open_dataset("coco", root=tmp_path)
    assert open_dataset("./coco").name == "coco"
    assert len(open_dataset("./coco").categories) == 2


def test_an_unknown_name_is_reported():
    with pytest.raises(
        DatasetError, match=r"imagenet: neither a dataset \(coco, ade20k, .* nor an existing folder"
    ):
        open_dataset("imagenet")


def test_an_own_folder_has_no_split(tmp_path: Path):
    with pytest.raises(DatasetError, match="your own folder has no splits, but split 'val' was requested"):
        open_dataset(put(tmp_path, own_folder()), split="val")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_an_unknown_layout_is_reported(form: str, tmp_path: Path):
    files = {"images/a.jpg": b""}
    place = put(tmp_path / "a", files) if form == "folder" else put_zip(tmp_path / "a.zip", files)
    with pytest.raises(DatasetError, match=r"panoptic\.json or labels/ not found; looked in .* and --root"):
        open_dataset(place)


@pytest.mark.parametrize("name", list_datasets())
def test_a_split_without_truth_is_reported(name: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=f"{name} has no labeled split 'test'; choose one of val, train"):
        open_dataset(name, root=tmp_path, split="test")


@pytest.mark.parametrize("name", list_datasets())
def test_a_missing_dataset_is_reported_with_where_to_get_it(name: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"not found; looked in .* from https://") as caught:
        open_dataset(name, root=tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert ("ovrcoat prepare" in str(caught.value)) == (name in ("ade20k", "cityscapes"))
