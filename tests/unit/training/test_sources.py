from pathlib import Path

import pytest

from ovrcoat.errors import DatasetError
from ovrcoat.training.config import DataConfig
from ovrcoat.training.sources import beside, open_data


def test_what_lies_beside_the_configuration_is_meant(tmp_path: Path):
    (tmp_path / "words.txt").touch()
    assert beside("words.txt", tmp_path) == str(tmp_path / "words.txt")
    assert beside("coco", tmp_path) == "coco"
    assert beside("cat; " * 200, tmp_path) == "cat; " * 200  # too long for a path


def test_a_root_beside_the_configuration_is_meant_too(tmp_path: Path):
    (tmp_path / "sets").mkdir()
    with pytest.raises(DatasetError, match=str(tmp_path / "sets")):
        open_data(DataConfig(path="coco", root="sets"), base=tmp_path)
