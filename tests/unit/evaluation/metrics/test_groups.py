"""Groups of categories in result tables."""

import pytest

from ovrcoat.evaluation.metrics.groups import group_ids, matching_preset, mean, seen_category_ids
from ovrcoat.vocabulary import Category, Vocabulary

CATEGORIES = (
    Category(("cat",), is_thing=True, id=1),
    Category(("sofa, couch",), is_thing=True, id=2),
    Category(("wall",), is_thing=False, id=7),
)


def test_without_seen_ids_there_are_three_groups():
    assert group_ids(CATEGORIES) == {"All": (1, 2, 7), "Things": (1, 2), "Stuff": (7,)}


def test_seen_and_unseen_cross_with_things_and_stuff():
    groups = group_ids(CATEGORIES, {2, 7, 99})
    assert groups["Seen"] == (2, 7)
    assert groups["Unseen"] == (1,)
    assert groups["Seen_Things"] == (2,)
    assert groups["Seen_Stuff"] == (7,)
    assert groups["Unseen_Things"] == (1,)
    assert groups["Unseen_Stuff"] == ()


def test_the_order_is_that_of_a_table():
    assert list(group_ids(CATEGORIES, set()))[:5] == ["All", "Things", "Stuff", "Seen", "Unseen"]


def test_mean_ignores_none():
    assert mean([0.5, None, 1.0]) == 0.75
    assert mean([None]) is None
    assert mean([]) is None


def test_seen_is_decided_by_names_split_at_commas():
    assert seen_category_ids(CATEGORIES, Vocabulary.of("couch", "wall")) == {2, 7}


def test_seen_compares_character_by_character():
    training = Vocabulary((Category(("Cat",), True, 1), Category(("walls",), False, 2)))
    assert seen_category_ids(CATEGORIES, training) == frozenset()


def test_no_categories_match_no_preset():
    assert matching_preset(()) is None
    assert seen_category_ids((), Vocabulary.named("coco")) == frozenset()


@pytest.mark.parametrize(("name", "seen"), [("ade20k", 64), ("cityscapes", 17), ("mapillary", 26)])
def test_official_names_of_a_known_dataset_use_the_published_synonyms(name: str, seen: int):
    one_name_each = [
        Category((category.names[-1],), category.is_thing, category.id)
        for category in Vocabulary.named(name).categories
    ]
    preset = matching_preset(one_name_each)
    assert preset is not None
    assert preset.name == name
    assert len(seen_category_ids(one_name_each, Vocabulary.named("coco"))) == seen


def test_ids_alone_do_not_match_a_preset():
    others = [
        Category((f"other {category.id}",), is_thing=True, id=category.id)
        for category in Vocabulary.named("ade20k").categories
    ]
    assert matching_preset(others) is None
