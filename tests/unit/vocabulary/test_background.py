"""Background classes: many, cheap, and none that competes with the vocabulary."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovrcoat.vocabulary import Vocabulary
from ovrcoat.vocabulary.background import GENERAL_TERMS, default_pool, select_background
from ovrcoat.vocabulary.catalog import match_key

POOL = [category.name for category in default_pool()]


def background(vocabulary: str, pool: str | None = None) -> set[str]:
    source = default_pool() if pool is None else Vocabulary.parse(pool).categories
    return {
        category.name for category in select_background(Vocabulary.parse(vocabulary).categories, pool=source)
    }


def test_the_pool_is_coco_and_new_categories_of_ade20k():
    assert POOL[:133] == [category.name for category in Vocabulary.named("coco").categories]
    assert "fountain" in POOL
    assert len({match_key(name) for name in POOL}) == len(POOL)


def test_an_unknown_name_gets_the_whole_pool_with_one_name_each():
    found = select_background(Vocabulary.parse("flurb").categories, pool=default_pool())
    assert [category.names for category in found] == [(name,) for name in POOL]
    assert len(found) > 200


@pytest.mark.parametrize(
    ("vocabulary", "gone"),
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
def test_competitors_are_left_out(vocabulary: str, gone: set[str]):
    assert gone <= set(POOL)
    assert not gone & background(vocabulary)


@pytest.mark.parametrize(
    ("vocabulary", "kept"),
    [
        ("dog", {"cat", "horse"}),  # all of them are listed under "animal"
        ("hot dog", {"dog"}),
        ("cat; background", {"wall", "sky", "person"}),  # VOC's background lists "wall", but means everything
        ("sofa", {"chair", "cushion"}),
    ],
)
def test_related_categories_are_kept(vocabulary: str, kept: set[str]):
    assert kept <= background(vocabulary)


def test_duplicates_of_the_pool_are_merged():
    assert background("flurb", pool="dog, hound; Dogs; cat") == {"dog", "cat"}


def test_general_terms_name_categories_of_the_pool():
    kinds = {kind.strip() for group in GENERAL_TERMS.values() for kind in group.split(",")}
    known = {match_key(name) for category in default_pool() for name in category.names}
    assert {kind for kind in kinds if match_key(kind) not in known} == set()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(POOL), unique=True, min_size=1, max_size=5))
def test_no_background_class_is_in_the_vocabulary(names: list[str]):
    requested = Vocabulary.of(*names)
    found = select_background(requested.categories, pool=default_pool())
    assert not {match_key(name) for name in names} & {match_key(category.name) for category in found}
    ids = [category.id for category in (*requested.categories, *found)]
    assert len(set(ids)) == len(ids)
