from pathlib import Path

import pytest

import tiny_training
from ovrcoat.errors import ConfigError, DatasetError
from ovrcoat.training.config import DataConfig
from ovrcoat.training.sources import expand_variables, open_data, open_source, resolve_path


def test_paths_are_relative_to_the_configuration(tmp_path: Path):
    (tmp_path / "names.txt").touch()
    assert resolve_path("names.txt", tmp_path) == str(tmp_path / "names.txt")
    assert resolve_path("coco", tmp_path) == "coco"
    assert resolve_path("cat; " * 200, tmp_path) == "cat; " * 200  # too long for a path


def test_a_root_is_relative_to_the_configuration(tmp_path: Path):
    (tmp_path / "sets").mkdir()
    with pytest.raises(DatasetError, match=str(tmp_path / "sets")):
        open_data(DataConfig(path="coco", root="sets"), base=tmp_path)


def test_paths_may_contain_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tiny_training.make_images(tmp_path / "sets" / "full", [(1, 2)])
    monkeypatch.setenv("MY_DATA", str(tmp_path / "sets"))
    assert expand_variables("${MY_DATA}/full") == str(tmp_path / "sets" / "full")
    assert expand_variables("$MY_DATA, cat") == "$MY_DATA, cat"
    assert len(open_source(DataConfig(path="${MY_DATA}/full"), base=Path()).records) == 1
    with pytest.raises(DatasetError, match=str(tmp_path / "sets")):
        open_data(DataConfig(path="coco", root="${MY_DATA}"), base=Path())


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str | None):
    if value is None:
        monkeypatch.delenv("MY_DATA", raising=False)
    else:
        monkeypatch.setenv("MY_DATA", value)
    message = r"'\$\{MY_DATA\}/full' needs the environment variable MY_DATA, which is not set\. Run: export"
    with pytest.raises(ConfigError, match=message):
        open_source(DataConfig(path="${MY_DATA}/full"), base=Path())
