"""Separators of other tools."""

import pytest

from ovrcoat.vocabulary.entries import parse_entries
from ovrcoat.vocabulary.separators import likely_names


def names_of(text: str) -> list[tuple[str, ...]]:
    return [entry.names for entry in parse_entries(text)]


@pytest.mark.parametrize(
    "text",
    [
        "cat . dog . sofa .",  # GroundingDINO
        "cat . dog . sofa",
        "cat. dog. sofa.",
        "cat | dog | sofa",
        "cat|dog|sofa",
        "cat；dog；sofa",
        "cat、dog、sofa",
        '["cat", "dog", "sofa"]',
        "['cat', 'dog', 'sofa']",
        "[cat, dog, sofa]",
        '{"0": "cat", "1": "dog", "2": "sofa"}',
        "{0: 'cat', 1: 'dog', 2: 'sofa'}",
        '[\n  "cat",\n  "dog",\n  "sofa"\n]',
    ],
)
def test_unambiguous_separators_split_categories(text: str):
    assert names_of(text) == [("cat",), ("dog",), ("sofa",)]


def test_synonyms_in_foreign_lists():
    assert names_of("cat, kitty | dog") == [("cat", "kitty"), ("dog",)]
    assert names_of('["cat, kitty", "wall#stuff"]')[0] == ("cat", "kitty")
    assert names_of("猫、ネコ；犬") == [("猫", "ネコ"), ("犬",)]
    assert names_of("cat，kitty") == [("cat", "kitty")]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("bow (weapon, wooden); pizza (large; hot)", [("bow (weapon, wooden)",), ("pizza (large; hot)",)]),
        ("mug (red | blue)", [("mug (red | blue)",)]),
        ("a (b; c", [("a (b",), ("c",)]),
        ("a (b\nc) d", [("a (b",), ("c) d",)]),
        ("a) b; c", [("a) b",), ("c",)]),
    ],
)
def test_separators_inside_brackets_do_not_split(text: str, names: list[tuple[str, ...]]):
    assert names_of(text) == names


@pytest.mark.parametrize("text", ["St. Bernard", "St. Bernard; U.S. flag; dog", "cat/dog", "cat. dog"])
def test_ambiguous_text_is_not_split(text: str):
    assert [name for (name,) in names_of(text)] == text.split("; ")


@pytest.mark.parametrize("name", ["cat/dog/sofa", "cat\\ndog\\nsofa", "cat. dog. sofa", "cat • dog • sofa"])
def test_likely_names(name: str):
    assert likely_names(name) == ["cat", "dog", "sofa"]


def test_most_names_are_one_name():
    assert likely_names("traffic light") == []
