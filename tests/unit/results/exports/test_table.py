import re
from pathlib import Path

import pytest

from label_scene import CATEGORIES
from ovrcoat.cli.options import OutputOptions
from ovrcoat.errors import ConfigError
from ovrcoat.results import exports
from ovrcoat.results.exports.exporter import Exporter
from ovrcoat.results.exports.table import DEFAULT_FORMATS, FORMATS, choose_formats, load_exporter
from ovrcoat.vocabulary import Category, Vocabulary

SHARED = {"__init__", "table", "exporter", "writer", "category_maps"}


def choose(names: str | list[str] | None, task: str = "panoptic") -> tuple[str, ...]:
    return choose_formats(names, task=task, categories=CATEGORIES)


@pytest.mark.parametrize("name", FORMATS)
def test_every_row_leads_to_an_exporter_or_is_a_default(name: str):
    exporter = load_exporter(name)
    if exporter is None:
        assert name in DEFAULT_FORMATS.values()
    else:
        assert issubclass(exporter, Exporter)
    assert FORMATS[name].tasks


def test_every_file_of_the_package_is_in_the_table():
    (folder,) = exports.__path__
    files = {path.stem for path in Path(folder).glob("*.py")} - SHARED
    assert {row.exporter.split(".")[0] for row in FORMATS.values() if row.exporter} == files


def test_the_help_of_the_command_lists_every_format():
    source = Path(__import__(OutputOptions.__module__, fromlist=["_"]).__file__).read_text()
    assert [name for name in FORMATS if not re.search(rf"\b{name}\b", source)] == []


def test_names_come_as_a_list_or_with_commas_and_once():
    assert choose("yolo, labelme,yolo") == ("yolo", "labelme")
    assert choose(["npz", "jsonl"]) == ("npz", "jsonl")


@pytest.mark.parametrize("task", DEFAULT_FORMATS)
def test_the_default_depends_on_the_task(task: str):
    assert choose(None, task) == (DEFAULT_FORMATS[task],)


@pytest.mark.parametrize(
    ("names", "task", "message"),
    [
        ("voc", "panoptic", "'voc' is not a format; choose from coco-panoptic, "),
        (" , ", "panoptic", "no format is given; choose from coco-panoptic"),
        ([], "panoptic", "no format is given"),
        (
            "yolo",
            "semantic",
            "panoptic or instance, but the task is semantic. For semantic, choose from coco-",
        ),
        ("semantic-png", "instance", "panoptic or semantic, but the task is instance"),
        ("coco-panoptic", "instance", "For instance, choose from coco-results, coco-instances, cvat, yolo"),
    ],
)
def test_what_cannot_be_written_is_said(names: str | list[str], task: str, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        choose(names, task)


@pytest.mark.parametrize(
    ("category", "limit"), [(Category(("car",), True, 65), 64), (Category(("sky",), False, 1000), 999)]
)
def test_cityscapes_needs_small_ids(category: Category, limit: int):
    with pytest.raises(ConfigError, match=rf"ids from 1 to {limit}, but the category '.*' has the id"):
        choose_formats("cityscapes", task="panoptic", categories=[category])
    with pytest.raises(ConfigError, match="has the id 0"):
        choose_formats("cityscapes", task="panoptic", categories=Vocabulary.read("ade20k").categories)
    cityscapes = Vocabulary.read("cityscapes").categories
    assert choose_formats("cityscapes", task="panoptic", categories=cityscapes) == ("cityscapes",)
