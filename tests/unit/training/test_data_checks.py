import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny_training
from ovrcoat.errors import DatasetError
from ovrcoat.training.config import DataConfig
from ovrcoat.training.data_checks import DataSummary, check_data
from ovrcoat.training.samples import map_categories
from ovrcoat.training.sources import open_source
from ovrcoat.vocabulary import Vocabulary
from tiny_training import CAT, SKY, VOID, ZEBRA

HALVES = [(CAT, SKY), (SKY, CAT), (CAT, ZEBRA), (CAT, VOID)]


def check(folder: Path, vocabulary: str = "cat; sky", *folders: Path, **data: Any) -> DataSummary:
    sources = [
        open_source(DataConfig(path=str(path), **data), base=folder.parent) for path in (folder, *folders)
    ]
    categories = Vocabulary.parse(vocabulary).categories
    maps = [map_categories(source.dataset.categories, categories) for source in sources]
    return check_data(sources, maps, class_names=[category.name for category in categories])


def change_json(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "panoptic.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def rename(folder: Path, *names: str) -> None:
    def change(document: dict[str, Any]) -> None:
        for category, name in zip(document["categories"], names, strict=True):
            category["name"] = name

    change_json(folder, change)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_training.make_images(tmp_path / "mine", HALVES)


def test_categories_with_and_without_a_class_name_are_counted(folder: Path):
    summary = check(folder)
    assert (summary.images, summary.held_out) == (4, 0)
    assert (summary.named_categories, summary.categories) == (2, 3)
    assert summary.unnamed == {"zebra": 1}
    assert summary.issues == ()


def test_names_are_compared_without_regard_to_case(folder: Path):
    rename(folder, "Cat", "SKY", "Zebra")
    assert check(folder).named_categories == 2


def test_few_named_categories_are_a_warning(folder: Path):
    (issue,) = check(folder, "zebra").issues
    assert (issue.severity, issue.code) == ("warning", "few-categories-named")
    assert issue.message.startswith("only 1 of 3 categories of the data have a class name")
    assert issue.examples == ["cat (4 segments)", "sky (2 segments)"]


def test_labels_without_any_class_name_are_refused_with_both_lists(folder: Path):
    rename(folder, "class_1", "class_2", "class_3")
    message = (
        r"0 of 3 categories of the data have a class name in the training vocabulary\. The labels are "
        r"called class.1 \(4 segments\), class.2 \(2 segments\), class.3 \(1 segment\); "
        r"the class names are cat, sky\."
    )
    with pytest.raises(DatasetError, match=message):
        check(folder)


def test_one_of_several_datasets_may_lack_names(folder: Path, tmp_path: Path):
    other = tiny_training.make_images(tmp_path / "other", [(CAT, VOID)])
    rename(other, "gnu", "emu", "yak")
    summary = check(folder, "cat; sky", other)
    assert summary.unnamed == {"zebra": 1, "gnu": 1}
    assert summary.images == 5


def test_crowds_alone_and_no_segments_are_refused(tmp_path: Path):
    crowds = tiny_training.make_images(tmp_path / "crowds", [(CAT, SKY), (CAT, VOID)], crowds=(CAT, SKY))
    with pytest.raises(DatasetError, match="crowds: all 3 segments are crowds, so there is nothing to learn"):
        check(crowds)
    empty = tiny_training.make_images(tmp_path / "empty", [(VOID, VOID)])
    with pytest.raises(DatasetError, match="empty: no image has a segment, so there is nothing to learn"):
        check(empty)


def test_semantic_labels_are_refused(tmp_path: Path, folder: Path):
    (folder / "panoptic.json").unlink()
    (folder / "panoptic").rename(folder / "labels")
    (folder / "names.txt").write_text("1: cat\n2: sky\n")
    with pytest.raises(
        DatasetError, match="mine has labels for semantic, but training needs panoptic labels"
    ):
        check(folder)


def test_missing_files_are_listed_and_counted(tmp_path: Path):
    folder = tiny_training.make_images(tmp_path / "many", [(CAT, SKY)] * 9)
    for number in range(7):
        (folder / "images" / f"many{number}.png").unlink()
    (folder / "panoptic" / "many6.png").unlink()
    with pytest.raises(DatasetError) as caught:
        check(folder)
    message = str(caught.value)
    assert message.startswith("many: 7 of 9 images cannot be used: ")
    assert [f"many{number}.png does not exist" in message for number in range(7)] == [True] * 5 + [False] * 2
    assert "; and 2 more. Repair them, remove them from the dataset, or set on_error: skip" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("part", ["images", "panoptic"])
@pytest.mark.parametrize("size", [0, 20, 600])
def test_truncated_files_are_found_before_the_first_step(folder: Path, part: str, size: int):
    path = folder / part / "mine2.png"
    content = path.read_bytes()
    path.write_bytes(content[: min(size, len(content) - 20)])
    with pytest.raises(DatasetError, match=rf"mine: 1 of 4 images cannot be used: \S*{part}/mine2\.png"):
        check(folder)


def test_unusable_files_are_a_warning_if_they_are_skipped(folder: Path):
    (folder / "images" / "mine1.png").unlink()
    (issue,) = check(folder, on_error="skip").issues
    assert issue.message == "mine: 1 of 4 images cannot be used and are skipped"
    assert issue.examples[0].endswith("mine1.png does not exist")
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="4 of 4 images cannot be used"):
        check(folder, on_error="skip")


def test_an_unknown_ending_is_no_fault_if_the_file_can_be_decoded(folder: Path):
    path = folder / "images" / "mine0.png"
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert check(folder).images == 4


def test_held_out_images_are_counted_and_an_empty_part_is_a_warning(tmp_path: Path, folder: Path):
    many = tiny_training.make_images(tmp_path / "many", [(CAT, SKY)] * 12)
    summary = check(many, held_out=0.5)
    assert 0 < summary.held_out < 12
    assert summary.images + summary.held_out == 12
    (issue,) = check(folder, held_out=0.004).issues
    assert issue.code == "nothing-held-out"
    assert issue.message.startswith("mine: held_out is 0.004, but none of the 4 images is held out")
