"""Presets as published, and look-up of thing or stuff."""

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary import Vocabulary, list_presets
from ovrcoat.vocabulary.catalog import closest_preset, complete, is_published, look_up, match_key
from ovrcoat.vocabulary.entries import Entry, parse_entries

# Counts of the published protocol: categories, names (repeats count), categories seen in COCO training.
# The seen counts compare every name with every COCO name, so a changed name shows.
COUNTS = {
    "coco": (133, 254, 133),
    "ade20k": (150, 403, 64),
    "ade20k-847": (847, 1342, 101),
    "cityscapes": (19, 60, 17),
    "mapillary": (65, 153, 26),
    "lvis": (1203, 1825, 80),
    "pascal-voc": (20, 79, 20),
    "pascal-voc-21": (21, 153, 21),
    "pascal-context-59": (59, 160, 51),
    "pascal-context-459": (459, 559, 85),
    "coco-stuff": (171, 328, 135),
}
THINGS = {"coco": 80, "ade20k": 100, "cityscapes": 8, "mapillary": 37, "lvis": 1203, "coco-stuff": 80}
IDS = {
    "coco": (1, 200),
    "ade20k": (0, 149),
    "cityscapes": (7, 33),
    "mapillary": (1, 65),
    "lvis": (1, 1203),
    "pascal-voc": (1, 20),
    "pascal-voc-21": (0, 20),
    "coco-stuff": (1, 182),
}


def test_every_preset_has_a_published_count():
    assert tuple(COUNTS) == list_presets()


@pytest.mark.parametrize("preset", COUNTS)
def test_presets_have_the_published_counts(preset: str):
    vocabulary = Vocabulary.named(preset)
    names = sum(len(category.names) for category in vocabulary.categories)
    seen = vocabulary.seen_in(Vocabulary.named("coco"))
    assert (len(vocabulary), names, sum(seen)) == COUNTS[preset]
    assert vocabulary.name == preset


@pytest.mark.parametrize("preset", THINGS)
def test_things_are_those_of_the_dataset(preset: str):
    categories = Vocabulary.named(preset).categories
    assert sum(category.is_thing for category in categories) == THINGS[preset]
    assert {category.thing_from for category in categories} == {"given"}


@pytest.mark.parametrize("preset", IDS)
def test_ids_are_those_of_the_dataset(preset: str):
    ids = [category.id for category in Vocabulary.named(preset).categories]
    assert (min(ids), max(ids)) == IDS[preset]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("preset", COUNTS)
def test_every_file_has_its_origin_and_license(preset: str):
    data = json.loads((files("ovrcoat.vocabulary") / "presets" / f"{preset}.json").read_text("utf-8"))
    assert "FC-CLIP" in data["origin"]
    assert "Apache License 2.0" in data["origin"]


@pytest.mark.parametrize("preset", COUNTS)
def test_presets_have_no_errors(preset: str):
    assert Vocabulary.named(preset).lint(text_length=lambda text: (len(text), 45)) == ()


def test_presets_without_thing_or_stuff_are_looked_up():
    found = {category.name: category for category in Vocabulary.named("ade20k-847").categories}
    assert (found["wall"].is_thing, found["wall"].thing_from) == (False, "preset")
    assert {category.thing_from for category in found.values()} == {"preset", "default"}


def test_published_repetitions_are_kept():
    stove = next(c for c in Vocabulary.named("ade20k").categories if c.name == "stove")
    assert stove.names.count("kitchen range") == 2


def test_colors_are_kept():
    assert Vocabulary.named("coco").categories[0].color == (220, 20, 60)


@pytest.mark.parametrize(
    ("name", "hint"), [("ade-20k", "Did you mean 'ade20k'"), ("imagenet", "Presets: coco")]
)
def test_unknown_presets_are_rejected(name: str, hint: str):
    with pytest.raises(VocabularyError, match=rf"unknown preset '{name}'.*{hint}"):
        Vocabulary.named(name)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["wall"], (False, "preset")),
        (["Walls"], (False, "preset")),
        (["cat"], (True, "preset")),
        (["flurb"], (True, "default")),
        (["flurb", "sky"], (False, "preset")),
        (["cat", "sky"], (True, "preset")),  # the first name that is known decides
        (["road"], (False, "preset")),
    ],
)
def test_thing_or_stuff_is_looked_up(names: list[str], expected: tuple[bool, str]):
    assert look_up(names) == expected


def test_specified_kinds_take_precedence_over_presets():
    wall, cat = complete(parse_entries("wall#thing; cat#stuff"))
    assert (wall.is_thing, wall.thing_from) == (True, "given")
    assert (cat.is_thing, cat.thing_from) == (False, "given")


def test_ids_are_positions_from_one_or_all_given():
    assert [category.id for category in complete(parse_entries("a; b; c"))] == [1, 2, 3]
    assert [category.id for category in complete([Entry(("a",), id=9), Entry(("b",), id=0)])] == [9, 0]
    with pytest.raises(VocabularyError, match="1 of 2 categories have an id"):
        complete([Entry(("a",), id=9), Entry(("b",))])


def test_a_published_list_is_recognized_with_any_ids():
    names = [tuple(dict.fromkeys(category.names)) for category in Vocabulary.named("ade20k").categories]
    assert is_published(complete([Entry(each) for each in names]))
    assert not is_published(complete([Entry(each) for each in names[1:]]))
    assert not is_published(())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Cats", "cat"),
        ("glass", "glass"),
        ("hot-dog", "hot dog"),
        ("aerosol_can", "aerosol can"),
        (" a  b ", "a b"),
    ],
)
def test_match_keys(name: str, key: str):
    assert match_key(name) == key


@given(st.text())
def test_match_keys_ignore_blanks_and_case(text: str):
    assert match_key(f" {text} ") == match_key(text)
    assert match_key(text.casefold()) == match_key(text)


def test_close_presets():
    assert closest_preset("Cityscape") == "cityscapes"
    assert closest_preset("cat") is None
