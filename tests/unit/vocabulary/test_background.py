"""Background classes: many, cheap, and none that competes with the vocabulary."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovrcoat.vocabulary import Vocabulary
from ovrcoat.vocabulary.background import GENERAL_TERMS, default_pool, select_background
from ovrcoat.vocabulary.catalog import match_key

POOL = [category.name for category in default_pool()]


def background(words: str, pool: str | None = None) -> set[str]:
    source = default_pool() if pool is None else Vocabulary.parse(pool).categories
    return {category.name for category in select_background(Vocabulary.parse(words).categories, pool=source)}


def test_the_pool_is_coco_and_what_ade20k_adds():
    assert POOL[:133] == [category.name for category in Vocabulary.named("coco").categories]
    assert "fountain" in POOL
    assert len({match_key(name) for name in POOL}) == len(POOL)


def test_an_unknown_word_gets_all_of_them_by_one_name_each():
    found = select_background(Vocabulary.parse("flurb").categories, pool=default_pool())
    assert [category.names for category in found] == [(name,) for name in POOL]
    assert len(found) > 200


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ("sofa", {"couch"}),
        ("kitty", {"cat"}),
        ("CATS", {"cat"}),
        ("black dog", {"dog"}),
        ("animal", {"dog", "cat", "bear"}),
        ("vehicle", {"car", "bus", "van"}),
        ("wall", {"wall", "brick wall", "stone wall"}),
        ("table", {"table", "dining table", "pool table"}),
        ("furniture", {"couch", "desk"}),
    ],
)
def test_rivals_are_left_out(words: str, gone: set[str]):
    assert gone <= set(POOL)
    assert not gone & background(words)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("dog", {"cat", "horse"}),  # all of them are listed under "animal"
        ("hot dog", {"dog"}),
        ("cat; background", {"wall", "sky", "person"}),  # VOC's background lists "wall", but means everything
        ("sofa", {"chair", "cushion"}),
    ],
)
def test_what_is_only_related_stays(words: str, kept: set[str]):
    assert kept <= background(words)


def test_duplicates_of_the_pool_are_merged():
    assert background("flurb", pool="dog, hound; Dogs; cat") == {"dog", "cat"}


def test_general_words_speak_of_the_pool():
    kinds = {kind.strip() for group in GENERAL_TERMS.values() for kind in group.split(",")}
    known = {match_key(name) for category in default_pool() for name in category.names}
    assert {kind for kind in kinds if match_key(kind) not in known} == set()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(POOL), unique=True, min_size=1, max_size=5))
def test_no_hidden_word_is_one_of_the_words(words: list[str]):
    asked = Vocabulary.of(*words)
    found = select_background(asked.categories, pool=default_pool())
    assert not {match_key(word) for word in words} & {match_key(category.name) for category in found}
    ids = [category.id for category in (*asked.categories, *found)]
    assert len(set(ids)) == len(ids)
