import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_training
from ovrcoat.errors import DatasetError
from ovrcoat.training.config import ImageNamesConfig, read_config
from ovrcoat.training.losses import UNNAMED
from ovrcoat.training.named_images import open_named_images, read_labels
from ovrcoat.training.run import train


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images of three names; two of ImageNet's names are those of two classes each."""
    names = ["crane", "tench", "crane", "hen", "hen", "tench"]
    root = tmp_path / "named"
    (root / "images").mkdir(parents=True)
    for number in range(len(names)):
        pixels = np.random.default_rng(number).integers(0, 255, (30, 50, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
    entries = [{"file_name": f"{number}.png", "name": name} for number, name in enumerate(names)]
    (root / "labels.json").write_text(json.dumps(entries))
    return root


def test_names_are_told_once_and_images_know_theirs(folder: Path):
    named = open_named_images(ImageNamesConfig(path="named", weight=0.3), base=folder.parent)
    assert [category.name for category in named.vocabulary.categories] == ["crane", "tench", "hen"]
    assert [record.label for record in named.records] == [0, 1, 0, 2, 2, 1]
    assert named.weight == 0.3
    image = named.image(named.records[3])
    assert (image.name, image.name_number, image.pixels.shape) == ("images/3.png", 2, (30, 50, 3))
    assert not image.all_labelled
    assert image.truth.segments == ()
    assert not image.truth.id_map.any()


def test_images_that_are_held_out_are_not_drawn_but_their_names_stay(folder: Path):
    named = open_named_images(ImageNamesConfig(path=str(folder), held_out=0.5), base=Path())
    assert 0 < len(named.records) < 6
    assert len(named.vocabulary.categories) == 3
    with pytest.raises(DatasetError, match=r"no image is left to train on; held_out is 1\.0"):
        open_named_images(ImageNamesConfig(path=str(folder), held_out=1.0), base=Path())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"here: JSONDecodeError.*list of objects with file_name and name"),
        (b'[{"file_name": "a.jpg"}]', r"KeyError: 'name'"),
        (b"[]", r"here names no image"),
        (b'[{"file_name": "a.jpg", "name": 3}]', r"something else than texts"),
    ],
)
def test_a_faulty_list_is_told(content: bytes, message: str):
    with pytest.raises(DatasetError, match=message):
        read_labels(content, key="name", place="here")


def test_a_missing_list_is_told(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"labels\.json not found.*with file_name and name"):
        open_named_images(ImageNamesConfig(path=str(tmp_path)), base=Path())


def test_a_stage_learns_from_named_images_beside_others(folder: Path, tmp_path: Path):
    names = {"path": "named", "weight": 2.0}
    stage = tiny_training.stage("ovr", steps=3, ovr={"image_names": names, "compensation": 0.1})
    values = tiny_training.settings(tmp_path, output=tmp_path / "run", stages=[stage])
    config = read_config(tiny_training.write(tmp_path / "run.yaml", values))
    train(config, base=tmp_path)
    lines = tiny_training.records(tmp_path / "run" / "ovr" / "log.jsonl")
    assert any(line["image_names"] > 0 for line in lines)
    assert any(line["ovr"] > 0 for line in lines)
    settings = json.loads((tmp_path / "run" / "ovr" / "settings.json").read_text())
    assert settings["ovr"]["image_names"]["path"] == "named"


def test_a_labelled_image_has_no_name_of_its_own(tmp_path: Path):
    from ovrcoat.training.config import DataConfig
    from ovrcoat.training.sources import open_source

    tiny_training.make_images(tmp_path / "full", [(1, 2)])
    source = open_source(DataConfig(path="full"), base=tmp_path)
    assert source.image(source.records[0]).name_number == UNNAMED
