"""The text syntax."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.entries import Entry, parse_entries, parse_entry, split_names

NAMES = (
    st.text(st.characters(exclude_characters=",;#\r\n；，、|｜.()[]{}（）［］【】"), min_size=1)
    .filter(str.strip)
    .map(str.strip)
)


def test_the_syntax_of_the_documentation():
    assert parse_entries("cat, kitty; sofa, couch; wall#stuff; dog#thing") == (
        Entry(("cat", "kitty")),
        Entry(("sofa", "couch")),
        Entry(("wall",), is_thing=False),
        Entry(("dog",), is_thing=True),
    )


@given(st.lists(st.lists(NAMES, min_size=1), max_size=5), st.sampled_from([";", "\n", "\r\n", " ; ", ";\n"]))
def test_joined_names_are_split_again(categories: list[list[str]], separator: str):
    text = separator.join(", ".join(names) for names in categories)
    assert [list(entry.names) for entry in parse_entries(text)] == categories


@pytest.mark.parametrize("text", ["", " ", ";", ";;\n ; "])
def test_blank_text_has_no_categories(text: str):
    assert parse_entries(text) == ()


@pytest.mark.parametrize("text", ["wall # stuff ", "wall#STUFF", " wall#stuff"])
def test_a_mark_may_have_spaces_and_capitals(text: str):
    assert parse_entry(text) == Entry(("wall",), is_thing=False)


def test_the_mark_belongs_to_the_whole_category():
    assert parse_entry("wall, walls#stuff", id=7) == Entry(("wall", "walls"), is_thing=False, id=7)


@pytest.mark.parametrize("text", ["cat#stuf", "cat#thing, kitty", "cat#", "a#thing#stuff"])
def test_other_marks_are_rejected(text: str):
    with pytest.raises(VocabularyError, match="expected #thing or #stuff at the end of a category"):
        parse_entry(text)


@pytest.mark.parametrize("text", ["#stuff", " , ", ",#thing"])
def test_a_category_needs_a_name(text: str):
    with pytest.raises(VocabularyError, match="contains no name"):
        parse_entry(text)


def test_names_keep_their_case_and_inner_blanks():
    assert split_names(" Big  Ben ,, St. Paul's") == ("Big  Ben", "St. Paul's")
