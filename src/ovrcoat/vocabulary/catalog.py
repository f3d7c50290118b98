"""Presets: the vocabularies of the published evaluation protocol.

Names and their order are those of the released FC-CLIP code (Apache License 2.0); the files in `presets/`
carry the notice. Repeated names inside a category are kept as published.
"""

import difflib
import json
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.category import Category, ThingSource
from ovrcoat.vocabulary.entries import Entry
from ovrcoat.vocabulary.records import read_entries

PRESETS = (
    "coco",
    "ade20k",
    "ade20k-847",
    "cityscapes",
    "mapillary",
    "lvis",
    "pascal-voc",
    "pascal-voc-21",
    "pascal-context-59",
    "pascal-context-459",
    "coco-stuff",
)
# Presets that specify thing or stuff themselves, in the order in which they are searched for a name.
THING_ORDER = ("coco", "ade20k", "cityscapes", "mapillary", "coco-stuff", "lvis")


def list_presets() -> tuple[str, ...]:
    """Return the names of all presets, as accepted by `Vocabulary.named`."""
    return PRESETS


def preset_form(name: str) -> str:
    """Return the canonical form of a preset's name: "ADE20K_847" is "ade20k-847"."""
    return name.strip().lower().replace("_", "-")


def is_preset(name: str) -> bool:
    """Return whether text is the name of a preset."""
    return preset_form(name) in PRESETS


def closest_preset(name: str) -> str | None:
    """Return the preset with the most similar name, or None if no name is similar."""
    found = difflib.get_close_matches(name.strip().lower(), PRESETS, n=1, cutoff=0.75)
    return found[0] if found else None


@cache
def preset_categories(name: str) -> tuple[Category, ...]:
    """Return the categories of a preset, as published.

    Raises:
        VocabularyError: there is no such preset.
    """
    if name not in PRESETS:
        close = closest_preset(name)
        hint = f"Did you mean {close!r}? " if close else ""
        raise VocabularyError(f"unknown preset {name!r}. {hint}Presets: {', '.join(PRESETS)}")
    return complete(_preset_entries(name))


def is_published(categories: Sequence[Category] | Sequence[Entry]) -> bool:
    """Return whether the names are those of a preset. Ids may differ, as in published files."""
    names = _names(categories)
    # One after the other: most often it is the first or none, and reading all takes as long as a small image
    return any(names == _preset_names(preset) for preset in PRESETS)


def complete(entries: Sequence[Entry]) -> tuple[Category, ...]:
    """Turn entries into categories: add missing ids, and thing or stuff where it is not specified.

    Raises:
        VocabularyError: some entries have an id and others have none.
    """
    with_id = sum(entry.id is not None for entry in entries)
    if with_id not in (0, len(entries)):
        raise VocabularyError(
            f"{with_id} of {len(entries)} categories have an id; give an id to all of them or to none"
        )
    return tuple(_complete_one(entry, position) for position, entry in enumerate(entries, start=1))


def look_up(names: Sequence[str]) -> tuple[bool, ThingSource]:
    """Look up in the presets whether a category with these names is a thing.

    The first name that a preset contains decides. Upper case and a plural "s" are ignored. A category whose
    names no preset contains is a thing.
    """
    known = _things()
    for name in names:
        if (key := match_key(name)) in known:
            return known[key], "preset"
    return True, "default"


@lru_cache(maxsize=2**14)  # more than the presets have names, which every start compares with the vocabulary
def match_key(name: str) -> str:
    """Return a name in lower case, with single spaces and without a plural "s", for loose comparison."""
    key = " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
    return key[:-1] if key.endswith("s") and not key.endswith("ss") else key


def _complete_one(entry: Entry, position: int) -> Category:
    id = position if entry.id is None else entry.id
    if entry.is_thing is not None:
        return Category(entry.names, entry.is_thing, id, color=entry.color, thing_from="given")
    is_thing, thing_from = look_up(entry.names)
    return Category(entry.names, is_thing, id, color=entry.color, thing_from=thing_from)


@cache
def _things() -> dict[str, bool]:
    things: dict[str, bool] = {}
    for preset in THING_ORDER:
        for entry in _preset_entries(preset):
            for name in entry.names:
                things.setdefault(match_key(name), entry.is_thing is not False)
    return things


def _names(categories: Sequence[Category] | Sequence[Entry]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(dict.fromkeys(category.names)) for category in categories)


@cache
def _preset_names(preset: str) -> tuple[tuple[str, ...], ...]:
    return _names(_preset_entries(preset))


@cache
def _preset_entries(name: str) -> tuple[Entry, ...]:
    text = (files("ovrcoat.vocabulary") / "presets" / f"{name}.json").read_text(encoding="utf-8")
    return read_entries(json.loads(text), origin=f"preset {name}")[0]
