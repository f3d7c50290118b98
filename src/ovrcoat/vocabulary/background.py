"""Hidden negatives: words that nobody asked for but that a short list needs as its contrast.

Both classifiers end in a softmax over the words. With the single word "cat" every mask is a cat with
probability one, and CLIP's confidence, which COAT trusts, is one for every mask too. So a short list gets the
categories of COCO and ADE20K beside it, minus everything that means the same as one of its own words. They
take part in both softmaxes and are reported as void.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from ovrcoat.vocabulary.catalog import PRESETS, match_key, preset_categories
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.entries import split_names

SHORT = 40  # categories; below this "auto" adds negatives. Our choice: twice Pascal VOC, a third of COCO

# pascal-voc-21 adds only "background" to pascal-voc, whose 74 names are everything else, not synonyms
GROUP_PRESETS = tuple(preset for preset in PRESETS if preset != "pascal-voc-21")

# General words that no preset relates to their kinds; after COCO's supercategories, with ADE20K's kinds added
GENERAL_WORDS = {
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
    """COCO's categories, and those of ADE20K that share no name with one of them."""
    coco = preset_categories("coco")
    known = {key for category in coco for key in _keys(category)}
    return coco + tuple(category for category in preset_categories("ade20k") if not _keys(category) & known)


def negatives(categories: Sequence[Category], *, pool: Sequence[Category]) -> tuple[Category, ...]:
    """Take from `pool` what is no rival of `categories`; each keeps its first name only, to stay cheap.

    A rival shares a name with the words, or with what a preset lists together with them: all names of a group
    that is headed by one of the words ("animal" also rules out "dog"), and the head of a group that holds one
    of them ("kitty" also rules out "cat"). Not the other members: "dog" must not rule out "cat", though both
    are listed under "animal". Last words count too: "black dog" rules out "dog", "wall" "brick wall".
    """
    words = frozenset(match_key(name) for category in categories for name in category.names)
    rivals = _rivals(words)
    next_id = max((category.id for category in categories), default=0) + 1
    chosen: dict[str, Category] = {}
    for category in pool:
        keys = _keys(category)
        if not keys & rivals and not {_last_word(key) for key in keys} & words:
            background = replace(category, names=category.names[:1], id=next_id + len(chosen))
            chosen.setdefault(match_key(category.name), background)
    return tuple(chosen.values())


def _rivals(words: frozenset[str]) -> frozenset[str]:
    groups = _groups()
    known = frozenset[str]().union(*(members for _, members in groups))
    # only of words that no list has: "hot dog" is known, so it is no kind of dog
    words |= {_last_word(word) for word in words - known}
    heads = {head for head, members in groups if members & words}
    return words.union(heads, *(members for head, members in groups if head in words))


@cache
def _groups() -> tuple[tuple[str, frozenset[str]], ...]:
    """Pairs of a head and all words of its group, as match keys."""
    published = [category.names for preset in GROUP_PRESETS for category in preset_categories(preset)]
    general = [(word, *split_names(kinds)) for word, kinds in GENERAL_WORDS.items()]
    return tuple((match_key(names[0]), frozenset(map(match_key, names))) for names in published + general)


def _last_word(key: str) -> str:
    return key.rsplit(" ", 1)[-1]


def _keys(category: Category) -> frozenset[str]:
    return frozenset(match_key(name) for name in category.names)
