"""The JSON format: what is accepted, rejected and written."""

import copy
from typing import Any

import pytest

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary import Category
from ovrcoat.vocabulary.entries import Entry
from ovrcoat.vocabulary.records import (
    MAX_CATEGORIES,
    MAX_NAME_LENGTH,
    read_entries,
    read_saved,
    write_category,
)

SAVED: dict[str, Any] = {
    "name": "pets",
    "categories": [
        {
            "name": "cat",
            "synonyms": ["kitty"],
            "isthing": True,
            "color": [1, 2, 3],
            "id": 7,
            "thing_from": "preset",
        }
    ],
    "background": [
        {"name": "sky", "synonyms": [], "isthing": False, "color": None, "id": 8, "thing_from": "given"}
    ],
}


def test_a_list_of_strings_and_objects():
    data = ["cat, kitty", "wall#stuff", {"name": "dog", "synonyms": ["hound"], "isthing": 1}]
    assert read_entries(data, origin="test") == (
        (Entry(("cat", "kitty")), Entry(("wall",), is_thing=False), Entry(("dog", "hound"), is_thing=True)),
        (),
    )


def test_a_coco_panoptic_file():
    data = {
        "images": [],
        "annotations": [],
        "categories": [
            {"supercategory": "indoor", "isthing": 0, "id": 0, "name": "wall", "color": [120, 120, 120]},
            {"supercategory": "indoor", "isthing": 1, "id": 23, "name": "sofa, couch"},
        ],
    }
    categories, background = read_entries(data, origin="test")
    assert categories == (
        Entry(("wall",), is_thing=False, id=0, color=(120, 120, 120)),
        Entry(("sofa", "couch"), is_thing=True, id=23),
    )
    assert background == ()


def test_background_classes_in_a_file():
    assert read_entries({"categories": ["cat"], "background": ["sky"]}, origin="test")[1] == (
        Entry(("sky",)),
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "top: Input should be a valid dictionary"),
        ("cat", "top: Input should be a valid dictionary"),
        ({}, "categories: Field required"),
        ({"categories": "cat"}, "categories: Input should be a valid list"),
        ([5], r"categories\.0\.object: Input should be a valid dictionary"),
        ([True], r"categories\.0\.object"),
        ([""], r"categories\.0\.text: String should have at least 1 character"),
        (["x" * (MAX_NAME_LENGTH + 1)], "at most 1000 characters"),
        ([{"nme": "cat"}], r"categories\.0\.object\.name: Field required.*nme: Extra inputs"),
        ([{"name": "cat", "is_thing": True}], "is_thing: Extra inputs are not permitted"),
        ([{"name": "cat", "isthing": "yes"}], r"isthing.*: Input should be"),
        ([{"name": "cat", "isthing": 2}], r"isthing.*: Input should be"),
        ([{"name": "cat", "id": -1}], r"id: Input should be greater than or equal to 0"),
        ([{"name": "cat", "id": True}], r"id: Input should be a valid integer"),
        ([{"name": "cat", "id": 1.5}], r"id: Input should be a valid integer"),
        ([{"name": "cat", "color": [0, 0]}], r"color: List should have at least 3 items"),
        ([{"name": "cat", "color": [0, 0, 256]}], r"color\.2: Input should be less than or equal to 255"),
        ([{"name": "cat", "color": "red"}], r"color: Input should be a valid list"),
        ([{"name": "cat", "synonyms": "kitty"}], r"synonyms: Input should be a valid list"),
        ([{"name": " , "}], "which is blank; give it a name"),
        (["#stuff"], "contains no name"),
        (["x"] * (MAX_CATEGORIES + 1), "at most 5000 items"),
        ([1] * 9, r"\(and 6 more\)"),
    ],
)
def test_malformed_content_is_rejected_with_the_location(data: object, message: str):
    with pytest.raises(VocabularyError, match=rf"(?s)^names\.json: .*{message}"):
        read_entries(data, origin="names.json")


def test_saved_categories_are_restored():
    saved = read_saved(SAVED)
    cat = Category(("cat", "kitty"), True, 7, color=(1, 2, 3), thing_from="preset")
    assert [record.to_category() for record in saved.categories] == [cat]
    assert write_category(cat) == SAVED["categories"][0]


@pytest.mark.parametrize("key", ["name", "categories", "background"])
def test_a_saved_vocabulary_must_be_complete(key: str):
    data = {name: value for name, value in SAVED.items() if name != key}
    with pytest.raises(VocabularyError, match=f"not a saved vocabulary: {key}: Field required"):
        read_saved(data)


@pytest.mark.parametrize("key", ["name", "isthing", "id", "thing_from"])
def test_a_saved_category_must_be_complete(key: str):
    data = copy.deepcopy(SAVED)
    del data["categories"][0][key]
    with pytest.raises(VocabularyError, match=f"{key}: Field required"):
        read_saved(data)


@pytest.mark.parametrize("data", [None, 3, "x", [], {**SAVED, "more": 1}, {**SAVED, "name": 5}])
def test_other_formats_are_not_a_saved_vocabulary(data: object):
    with pytest.raises(VocabularyError, match="this is not a saved vocabulary"):
        read_saved(data)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "7"},
        {"isthing": None},
        {"isthing": "true"},
        {"thing_from": "x"},
        {"synonyms": [1]},
        {"more": 1},
    ],
)
def test_a_saved_category_has_strict_types(change: dict[str, object]):
    data = {**SAVED, "categories": [{**SAVED["categories"][0], **change}]}
    with pytest.raises(VocabularyError, match=next(iter(change))):
        read_saved(data)


def test_the_old_key_of_background_classes_is_an_error_that_names_the_new_one():
    with pytest.raises(VocabularyError, match="the key 'hidden' was renamed to 'background'"):
        read_entries({"categories": ["cat"], "hidden": ["sky"]}, origin="pets.json")
