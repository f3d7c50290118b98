"""Dataset spellings."""

import pytest

from ovrcoat.vocabulary import Category, Vocabulary, list_presets
from ovrcoat.vocabulary.entries import Entry, parse_entries
from ovrcoat.vocabulary.names import is_code, is_placeholder, match_categories, normal_name, recognize


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("traffic_light", "traffic light"),
        ("traffic\u00a0light", "traffic light"),
        ("dining-table", "dining table"),
        ("diningtable", "dining table"),
        ("Sky", "sky"),
        ("Traffic Light", "traffic light"),
        ("T-Shirt", "t-shirt"),
        ("hot_air_balloon", "hot-air balloon"),
        ("bow_(weapon)", "bow (weapon)"),
        ("my_widget", "my widget"),
        ("carpet-merged", "carpet"),
        ("object--vehicle--car", "car"),
        ("construction--barrier--concrete-block", "concrete block"),
        ("cafe\u0301", "café"),
    ],
)
def test_names_for_programs_become_words(written: str, expected: str):
    assert normal_name(written) == expected
    assert normal_name(expected) == expected


@pytest.mark.parametrize(
    "name", ["cat", "R2-D2", "t-shirt", "golf-club", "iPod", "SUV", "St. Paul's", "-", "_"]
)
def test_other_names_do_not_change(name: str):
    assert normal_name(name) == name


@pytest.mark.parametrize("preset", list_presets())
def test_published_lists_do_not_change(preset: str):
    entries = [Entry(category.names, id=category.id) for category in Vocabulary.named(preset).categories]
    assert recognize(entries).entries == tuple(entries)
    assert recognize(entries).changes == ()


class TestCodes:
    @pytest.mark.parametrize("name", ["wall-other-merged", "Wall-Other-Merged", "wall_other_merged"])
    def test_an_official_name_gets_names_kind_and_color_of_its_category(self, name: str):
        (category,) = Vocabulary.of(name).categories
        assert category == Category(("wall", "walls"), False, 1, color=(102, 102, 156), thing_from="preset")

    def test_what_is_written_wins(self):
        (category,) = Vocabulary.parse("my wall, wall-other-merged#thing").categories
        assert category.names == ("my wall", "wall", "walls")
        assert category.is_thing

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("Crosswalk - Plain; Terrain", [("crosswalk",), ("terrain",)]),
            ("animal--ground-animal; dog", [("ground animal",), ("dog",)]),
            ("ceiling-other; my thing", [("ceiling",), ("my thing",)]),
        ],
    )
    def test_names_of_other_datasets(self, text: str, names: list[tuple[str, ...]]):
        found = [category.names for category in Vocabulary.parse(text).categories]
        assert [own[:1] for own in found] == names

    def test_words_are_not_codes(self):
        assert recognize(parse_entries("window blind; wall wood")).changes == ()

    def test_a_synonym_of_another_category_is_left_out(self):
        vocabulary = Vocabulary.parse("floor-other-merged; tile floor; my thing")
        assert "tile floor" not in vocabulary.categories[0].names
        assert vocabulary.categories[0].name == "floor"
        vocabulary.check()


class TestOfficialLists:
    def test_a_list_with_a_code_is_that_of_its_dataset(self):
        vocabulary = Vocabulary.parse("light; orange; sky-other-merged")
        assert [category.name for category in vocabulary.categories] == ["lamp", "orange fruit", "sky"]

    def test_a_complete_list_with_ids_is_the_preset(self):
        preset = Vocabulary.named("cityscapes").categories
        written = [Entry((category.name.title(),), id=category.id) for category in preset]
        found = recognize(written).entries
        assert [entry.names for entry in found] == [category.names for category in preset]
        assert [entry.color for entry in found] == [category.color for category in preset]

    def test_plain_names_alone_are_no_dataset(self):
        assert recognize(parse_entries("person; car; light")).changes == ()


@pytest.mark.parametrize("name", ["class_1", "LABEL 3", "7", "Class #2", "background", "unlabeled", "N/A"])
def test_placeholders(name: str):
    assert is_placeholder(name)


@pytest.mark.parametrize("name", ["cat", "Boeing 747", "class room", "7 up", "label"])
def test_no_placeholders(name: str):
    assert not is_placeholder(name)


def test_codes_are_recognized_by_their_spelling():
    assert is_code("sky_area")
    assert is_code("carpet-merged")
    assert not is_code("two-wheeler")


class TestMatch:
    OURS = Vocabulary((Category(("sky",), False, 1), Category(("Dog", "dogs"), True, 2)))

    @pytest.mark.parametrize("name", ["sky", "Sky", "skys", "SKY", "sky-other-merged", "sky_other"])
    def test_loose_matches(self, name: str):
        assert match_categories((Category((name,), False, 7),), self.OURS.categories) == {7: 0}

    def test_equal_names_win(self):
        both = (Category(("Cat",), True, 1), Category(("cat",), True, 2))
        theirs = (Category(("cat",), True, 5), Category(("CAT",), True, 6))
        assert match_categories(theirs, both) == {5: 1, 6: 0}

    def test_no_match(self):
        assert match_categories((Category(("sky area",), False, 7),), self.OURS.categories) == {}
