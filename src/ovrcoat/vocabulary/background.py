"""Background classes: additional classes that a short vocabulary needs as alternatives.

Both classifiers end in a softmax over the vocabulary. With "cat" as the only class, every mask is a cat with
probability one, and CLIP's confidence, which COAT uses, is one for every mask too. Therefore a short
vocabulary receives the categories of COCO and ADE20K as background classes, without those that mean the same
as one of its own classes. Background classes take part in both softmaxes and are reported as void.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache

from ovrcoat.vocabulary.catalog import PRESETS, match_key, preset_categories
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.entries import split_names

# "auto" adds background classes to vocabularies with fewer categories. Our choice: twice Pascal VOC, a third
# of COCO.
SHORT_VOCABULARY = 40

# pascal-voc-21 adds only "background" to pascal-voc, whose 74 names are everything else, not synonyms.
GROUP_PRESETS = tuple(preset for preset in PRESETS if preset != "pascal-voc-21")

# General terms that no preset groups with their kinds. After COCO's supercategories, with kinds of ADE20K.
GENERAL_TERMS = {
    "vehicle": "bicycle, car, motorcycle, airplane, bus, train, truck, boat, van, ship, minibike",
    "animal": "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe",
    "food": "fruit, banana, apple, orange fruit, sandwich, broccoli, carrot, hot dog, pizza, donut, cake",
    "fruit": "banana, apple, orange fruit",
    "furniture": "chair, armchair, swivel chair, seat, stool, couch, ottoman, bench, bed, cradle, table, "
    "desk, dining table, coffee table, cabinet, wardrobe, chest of drawers, buffet, bookcase, shelf",
    "appliance": "microwave, oven, stove, toaster, refrigerator, dishwasher, washer, exhaust hood",
    "electronics": "tv, laptop, mouse, tv remote, keyboard, cell phone, computer, monitor, crt screen",
    "plant": "tree, flower, grass, potted plant",
}


@cache
def default_pool() -> tuple[Category, ...]:
    """Return COCO's categories, and those of ADE20K that share no name with them."""
    coco = preset_categories("coco")
    known = {key for category in coco for key in _keys(category)}
    return coco + tuple(category for category in preset_categories("ade20k") if not _keys(category) & known)


def select_background(categories: Sequence[Category], *, pool: Sequence[Category]) -> tuple[Category, ...]:
    """Return the categories of `pool` that do not compete with `categories`.

    Each keeps only its first name, because every name costs time. A category competes if one of these holds:

    - It shares a name with `categories`.
    - A preset lists it under a name of `categories`: "animal" excludes "dog".
    - It is the head of a preset's group that contains a name of `categories`: "kitty" excludes "cat". Other
      members of the group do not compete: "dog" does not exclude "cat", although both are under "animal".
    - It shares the last word of a name: "black dog" excludes "dog", "wall" excludes "brick wall".
    """
    names = frozenset(match_key(name) for category in categories for name in category.names)
    competitors = _competitors(names)
    next_id = max((category.id for category in categories), default=0) + 1
    chosen: dict[str, Category] = {}
    for category in pool:
        keys = _keys(category)
        if not keys & competitors and not {_last_word(key) for key in keys} & names:
            background = replace(category, names=category.names[:1], id=next_id + len(chosen))
            chosen.setdefault(match_key(category.name), background)
    return tuple(chosen.values())


@lru_cache(maxsize=64)
def _competitors(names: frozenset[str]) -> frozenset[str]:
    groups = _groups()
    known = frozenset[str]().union(*(members for _, members in groups))
    # last words only of unknown names: "hot dog" is a known name, so it is not a kind of dog
    names |= {_last_word(name) for name in names - known}
    heads = {head for head, members in groups if members & names}
    return names.union(heads, *(members for head, members in groups if head in names))


@cache
def _groups() -> tuple[tuple[str, frozenset[str]], ...]:
    """Pairs of the head and all names of a group, as match keys."""
    published = [category.names for preset in GROUP_PRESETS for category in preset_categories(preset)]
    general = [(term, *split_names(kinds)) for term, kinds in GENERAL_TERMS.items()]
    return tuple((match_key(names[0]), frozenset(map(match_key, names))) for names in published + general)


def _last_word(key: str) -> str:
    return key.rsplit(" ", 1)[-1]


def _keys(category: Category) -> frozenset[str]:
    return frozenset(match_key(name) for name in category.names)
