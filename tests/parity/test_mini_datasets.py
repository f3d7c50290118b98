"""Miniature datasets in the layout of their release: read and prepared, from folders and from zip files."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ovrcoat.data.ade20k_panoptic import prepare_ade20k
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.cityscapes_panoptic import prepare_cityscapes
from ovrcoat.data.dataset import Dataset

HOMES = {
    "coco": "coco",
    "ade20k": "ade20k/ADEChallengeData2016",
    "cityscapes": "cityscapes",
    "mapillary": "mapillary/mapillary_vistas",
}
EXPECTED = {  # key in expected.json → dataset, split
    "coco_val2017_panoptic": ("coco", "val"),
    "ade20k_val_panoptic": ("ade20k", "val"),
    "cityscapes_val_panoptic": ("cityscapes", "val"),
    "cityscapes_train_panoptic": ("cityscapes", "train"),
    "mapillary_validation_panoptic": ("mapillary", "val"),
    "mapillary_training_panoptic": ("mapillary", "train"),
}


@pytest.fixture
def mini(shared_fixtures: Path) -> Path:
    if not (shared_fixtures / "mini").is_dir():
        pytest.skip("optional recordings not found: shared/fixtures/mini next to this checkout")
    return shared_fixtures / "mini"


def pack(target: Path, source: Path, *, top: str = "", only: str = "**/*") -> Path:
    """Zip the files of `source` that match `only`, below the folder `top` in the zip."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as packed:
        for path in sorted(source.glob(only)):
            if path.is_file():
                packed.write(path, top + path.relative_to(source).as_posix())
    return target


def pack_as_released(name: str, mini: Path, folder: Path) -> Path:
    """The zip files that the release consists of; a zip inside a zip for COCO."""
    home = mini / HOMES[name]
    if name == "coco":
        pack(folder / "val2017.zip", home, only="val2017/*")
        pack(folder / "annotations_trainval2017.zip", home, only="annotations/instances*")
        inner = pack(folder.parent / "panoptic_val2017.zip", home, only="panoptic_val2017/*")
        outer = pack(folder / "panoptic_annotations_trainval2017.zip", home, only="annotations/panoptic_*")
        with zipfile.ZipFile(outer, "a") as packed:
            packed.write(inner, "annotations/panoptic_val2017.zip")
    elif name == "cityscapes":
        pack(folder / "gtFine_trainvaltest.zip", home, only="gtFine/**/*")
        pack(folder / "leftImg8bit_trainvaltest.zip", home, only="leftImg8bit/**/*")
    else:
        pack(folder / f"{home.name}.zip", home, top=f"{home.name}/" if name == "ade20k" else "")
    return folder


def contents(dataset: Dataset) -> list[Any]:
    """All content of a dataset in a comparable form."""
    truths = [dataset.panoptic(record) for record in dataset.records]
    return [
        dataset.fingerprint(),
        [record.image_id for record in dataset.records],
        [dataset.image(record) for record in dataset.records],
        [(truth.id_map.tobytes(), truth.segments) for truth in truths],
        [dataset.semantic(record).tobytes() for record in dataset.records],
        dataset.instances(dataset.records),
    ]


@pytest.mark.parametrize("key", EXPECTED)
def test_segments_are_the_expected_ones(key: str, mini: Path):
    name, split = EXPECTED[key]
    dataset = open_dataset(name, root=(mini / HOMES[name]).parent, split=split)
    expected = json.loads((mini / "expected.json").read_text(encoding="utf-8"))[key]
    assert [record.image_id for record in dataset.records] == [image["image_id"] for image in expected]
    for record, image in zip(dataset.records, expected, strict=True):
        truth = dataset.panoptic(record)
        assert truth.id_map.shape == (image["size"][1], image["size"][0])
        assert int((truth.id_map == 0).sum()) == image["void_pixels"]
        ours = [
            (one.id, one.category_id, int(one.is_crowd), one.area, int((truth.id_map == one.id).sum()))
            for one in truth.segments
        ]
        keys = ("id", "category_id", "iscrowd", "json_area", "png_area")
        assert sorted(ours) == sorted(tuple(one[key] for key in keys) for one in image["segments"])


@pytest.mark.parametrize("name", HOMES)
def test_folder_and_zip_files_have_the_same_content(name: str, mini: Path, tmp_path: Path):
    home = mini / HOMES[name]
    folder = contents(open_dataset(name, root=home.parent))
    assert contents(open_dataset(name, root=home)) == folder
    whole = pack(tmp_path / "whole" / "all.zip", home, top=f"{home.name}/")
    assert contents(open_dataset(name, root=whole)) == folder
    released = pack_as_released(name, mini, tmp_path / "released" / home.name)
    assert contents(open_dataset(name, root=released)) == folder
    assert contents(open_dataset(name, root=released.parent)) == folder
    assert not list(released.glob("*/"))  # nothing was unpacked


@pytest.mark.parametrize("name", ["ade20k", "cityscapes"])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_prepared_files_equal_the_published_ones(name: str, form: str, mini: Path, tmp_path: Path):
    published = open_dataset(name, root=mini / HOMES[name])
    home = tmp_path / (mini / HOMES[name]).name
    bare = shutil.ignore_patterns("*panoptic*", "*instance_val.json")
    shutil.copytree(mini / HOMES[name], home, ignore=bare)
    if form == "zip":
        pack(tmp_path / "release.zip", home, top=f"{home.name}/")
        shutil.rmtree(home)
    root = tmp_path / "release.zip" if form == "zip" else tmp_path
    assert "panoptic" not in open_dataset(name, root=root).tasks
    done = prepare_ade20k(root, published_areas=True) if name == "ade20k" else prepare_cityscapes(root)
    assert done.image_count == len(published)
    assert [path.parent for path in done.documents][:1] == [home if name == "ade20k" else home / "gtFine"]
    ours = open_dataset(name, root=root)
    assert [record.image_id for record in ours.records] == [record.image_id for record in published.records]
    for mine, theirs in zip(ours.records, published.records, strict=True):
        assert masks(ours, mine) == masks(published, theirs)
        np.testing.assert_array_equal(ours.semantic(mine), published.semantic(theirs))
    assert (
        ours.instances(ours.records)["annotations"] == published.instances(published.records)["annotations"]
    )


def masks(dataset: Dataset, record: Any) -> list[tuple[int, bool, int, bytes]]:
    """Category, crowd, area in the JSON and mask of every segment, whatever its id."""
    truth = dataset.panoptic(record)
    return sorted(
        (one.category_id, one.is_crowd, one.area, (truth.id_map == one.id).tobytes())
        for one in truth.segments
    )


def test_areas_are_correct_by_default(mini: Path, tmp_path: Path):
    shutil.copytree(
        mini / HOMES["ade20k"],
        tmp_path / "ADEChallengeData2016",
        ignore=shutil.ignore_patterns("*panoptic*"),
    )
    prepare_ade20k(tmp_path)
    dataset = open_dataset("ade20k", root=tmp_path)
    for record in dataset.records:
        truth = dataset.panoptic(record)
        assert [one.area for one in truth.segments] == [
            int((truth.id_map == one.id).sum()) for one in truth.segments
        ]


def test_the_newer_nesting_of_mapillary_is_found(mini: Path, tmp_path: Path):
    home = tmp_path / "mapillary_vistas"
    shutil.copytree(mini / HOMES["mapillary"], home)
    for part in ("labels", "instances", "panoptic"):
        (home / "validation" / "v1.2").mkdir(exist_ok=True)
        (home / "validation" / part).rename(home / "validation" / "v1.2" / part)
    newer = open_dataset("mapillary", root=tmp_path)
    older = open_dataset("mapillary", root=mini / "mapillary")
    assert (newer.layout, older.layout) == ("v1.2 inside v2.0", "v1.2")
    assert contents(newer) == contents(older)
