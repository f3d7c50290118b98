"""Groups of categories in result tables: All, Things, Stuff, Seen, Unseen and their combinations.

The value of a group is the mean over its categories that have anything to count.
"""

from collections.abc import Collection, Iterable, Sequence

from ovrcoat.vocabulary import Category, Vocabulary, list_presets
from ovrcoat.vocabulary.catalog import match_key

# Share of names that must agree for a list to count as a preset with the same ids. COCO's own file shares 102
# of 133 names with the published list ("door-stuff" is "door" there), ADE20K's 142 of 150, Mapillary's 62 of
# 65.
MIN_NAME_AGREEMENT = 0.5


def group_ids(
    categories: Sequence[Category], seen_ids: Collection[int] | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the category ids of each group, in table order.

    Args:
        categories: All categories.
        seen_ids: Ids of the seen categories; None leaves out the groups of seen and unseen categories.
    """
    by_kind = {
        "All": tuple(category.id for category in categories),
        "Things": tuple(category.id for category in categories if category.is_thing),
        "Stuff": tuple(category.id for category in categories if not category.is_thing),
    }
    if seen_ids is None:
        return by_kind
    seen = {name: tuple(id for id in ids if id in seen_ids) for name, ids in by_kind.items()}
    unseen = {name: tuple(id for id in ids if id not in seen_ids) for name, ids in by_kind.items()}
    return by_kind | {
        "Seen": seen["All"],
        "Unseen": unseen["All"],
        "Seen_Things": seen["Things"],
        "Seen_Stuff": seen["Stuff"],
        "Unseen_Things": unseen["Things"],
        "Unseen_Stuff": unseen["Stuff"],
    }


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None, or None if there are none."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def seen_category_ids(categories: Sequence[Category], training: Vocabulary) -> frozenset[int]:
    """Return the ids of the seen categories by the published rule (`Vocabulary.seen_in`).

    Names are split at commas and otherwise compared unchanged. The JSON of a dataset has one name per
    category, but the published rule uses synonyms; they are taken from `matching_preset`, if there is one.
    """
    preset = matching_preset(categories)
    compared = preset.categories if preset else [_split_names(category) for category in categories]
    flags = Vocabulary(tuple(compared)).seen_in(training)
    return frozenset(category.id for category, seen in zip(compared, flags, strict=True) if seen)


def matching_preset(categories: Sequence[Category]) -> Vocabulary | None:
    """Return the preset that has exactly these ids and at least half of these names, or None."""
    if not categories:
        return None
    names = {category.id: _keys(category) for category in categories}
    for preset in map(Vocabulary.named, list_presets()):
        listed = {category.id: _keys(category) for category in preset.categories}
        if listed.keys() == names.keys():
            agreeing = sum(not listed[id].isdisjoint(names[id]) for id in names)
            if agreeing >= MIN_NAME_AGREEMENT * len(names):
                return preset
    return None


def _split_names(category: Category) -> Category:
    names = tuple(part for name in category.names for part in name.replace(", ", ",").split(","))
    return Category(names, category.is_thing, category.id)


def _keys(category: Category) -> set[str]:
    return {match_key(name) for name in _split_names(category).names}
