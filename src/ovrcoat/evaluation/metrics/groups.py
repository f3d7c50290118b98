"""Groups of categories that a table has a line for: All, Things, Stuff, Seen, Unseen and their crossings.

A group's figure is the plain mean over those of its categories that anything was counted for.
"""

from collections.abc import Collection, Iterable, Sequence

from ovrcoat.vocabulary import Category, Vocabulary, list_presets
from ovrcoat.vocabulary.catalog import match_key

# Of a list's names, to be taken for a preset with the same ids. COCO's own file shares 102 of 133 names with
# the published list ("door-stuff" there is "door" here), ADE20K's 142 of 150, Mapillary's 62 of 65.
AGREEING_NAMES = 0.5


def group_ids(
    categories: Sequence[Category], seen_ids: Collection[int] | None = None
) -> dict[str, tuple[int, ...]]:
    """The category ids of every group, in the order of a table; without `seen_ids` only those by kind."""
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
    """The plain mean of what is not None; None if nothing is left."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def seen_category_ids(categories: Sequence[Category], training: Vocabulary) -> frozenset[int]:
    """The ids of the categories that training knew, by the published rule (`Vocabulary.seen_in`).

    Names are split at commas, and nothing else is done to them. A data set's JSON holds one name per
    category, but the rule speaks of the published synonyms: those of `matching_preset`, if there is one.
    """
    preset = matching_preset(categories)
    asked = preset.categories if preset else [_split(category) for category in categories]
    flags = Vocabulary(tuple(asked)).seen_in(training)
    return frozenset(category.id for category, seen in zip(asked, flags, strict=True) if seen)


def matching_preset(categories: Sequence[Category]) -> Vocabulary | None:
    """The preset with exactly these ids and mostly these names, if any."""
    if not categories:
        return None
    names = {category.id: _keys(category) for category in categories}
    for preset in map(Vocabulary.named, list_presets()):
        listed = {category.id: _keys(category) for category in preset.categories}
        if listed.keys() == names.keys():
            agreeing = sum(not listed[id].isdisjoint(names[id]) for id in names)
            if agreeing >= AGREEING_NAMES * len(names):
                return preset
    return None


def _split(category: Category) -> Category:
    names = tuple(part for name in category.names for part in name.replace(", ", ",").split(","))
    return Category(names, category.is_thing, category.id)


def _keys(category: Category) -> set[str]:
    return {match_key(name) for name in _split(category).names}
