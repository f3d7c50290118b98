import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.reports.training_frequency import frequency_bin, training_counts
from ovrcoat.system.input_files import SizeLimit
from ovrcoat.vocabulary import Category
from sample_reports import CATEGORIES


@pytest.mark.parametrize(
    ("count", "name"),
    [
        *((0, "0"), (1, "1-10"), (10, "1-10"), (11, "11-100"), (100, "11-100"), (101, "101-1000")),
        *((1000, "101-1000"), (1001, ">1000")),
    ],
)
def test_bins(count: int, name: str):
    assert frequency_bin(count) == name


def test_a_file_counts_by_any_name(tmp_path):
    path = tmp_path / "counts.json"
    path.write_text(json.dumps({"kitty": 3, "cat": 4, "sky": 9, "Dog": 5, "zebra": 1}))
    assert training_counts(str(path), CATEGORIES) == {1: 7, 7: 0, 40: 9, 41: 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "holds a JSON list, expected counts by name, such as"),
        ('{"cat": -1}', "the count of 'cat' is -1"),
        ('{"cat": 1.5}', "expected an integer of 0 or more"),
        ('{"zebra": 2}', "no segment of any evaluated category"),
    ],
)
def test_invalid_files_are_rejected(tmp_path, content: str, message: str):
    path = tmp_path / "counts.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        training_counts(str(path), CATEGORIES)


def test_missing_and_large_files_are_rejected(tmp_path, monkeypatch):
    path = tmp_path / "counts.json"
    with pytest.raises(DatasetError, match=r"cannot read .*No such file"):
        training_counts(str(path), CATEGORIES)
    path.write_text('{"cat": 1}')
    monkeypatch.setattr(
        "ovrcoat.evaluation.reports.training_frequency.REPORT", SizeLimit(3, "NO_VARIABLE", unit=1)
    )
    with pytest.raises(DatasetError, match="expected at most 3;"):
        training_counts(str(path), CATEGORIES)


@pytest.fixture
def opened(monkeypatch):
    """A catalog with one dataset; returns its requests."""
    requests = []

    def segment(category_id, is_crowd=False):
        return SimpleNamespace(category_id=category_id, is_crowd=is_crowd)

    def open_dataset(source, *, root=None, split=None):
        requests.append((source, root, split))
        if source == "empty":
            return SimpleNamespace(records=(), categories=())
        return SimpleNamespace(
            records=[
                SimpleNamespace(segments=[segment(50), segment(50), segment(50, is_crowd=True)]),
                SimpleNamespace(segments=[segment(51), segment(60)]),
            ],
            categories=(
                Category(("kitty",), is_thing=True, id=50),
                Category(("tomcat", "cat"), is_thing=True, id=51),
                Category(("sky",), is_thing=False, id=60),
                Category(("dog",), is_thing=True, id=61),
            ),
        )

    catalog = ModuleType("ovrcoat.data.catalog")
    catalog.open_dataset = open_dataset
    catalog.list_datasets = lambda: ("coco",)
    monkeypatch.setitem(sys.modules, "ovrcoat.data.catalog", catalog)
    return requests


def test_a_dataset_counts_by_shared_names_without_crowds(opened, tmp_path):
    assert training_counts("coco", CATEGORIES, root=tmp_path) == {1: 3, 7: 0, 40: 1, 41: 0}
    training_counts("my/folder", CATEGORIES)
    assert opened == [("coco", tmp_path, "train"), ("my/folder", None, None)]


def test_a_dataset_without_segments_is_rejected(opened):
    with pytest.raises(DatasetError, match="lists no panoptic segments"):
        training_counts("empty", CATEGORIES)
    assert opened == [("empty", None, None)]
