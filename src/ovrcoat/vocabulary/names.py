"""Recognition of dataset spellings: the one place that decides what a written name means.

Datasets and tools write names such as "wall-other-merged", "dining-table", "sky_area" or "Traffic Light".
A text tower was trained on plain English. Every name that a user writes (class names, files, dataset
categories, training labels) passes through `recognize`. The lists of the published protocol never change.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from ovrcoat.vocabulary.catalog import PRESETS, is_published, match_key, preset_categories
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.entries import Entry, split_names

# Presets whose official names contain codes such as "-merged", in the order in which they are searched.
CODE_PRESETS = ("coco", "mapillary", "coco-stuff")
# Pascal VOC writes three names without their space.
JOINED_NAMES = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
CODE_ENDING = re.compile(r"(?:[\s_-]+(?:other|merged|stuff))+$", re.IGNORECASE)  # COCO: "floor-other-merged"
BLANKS = re.compile(r"[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")  # all spaces of Unicode
PLAIN = re.compile(r"[a-z ]*")  # needs no look-up, so that short vocabularies cost nothing
HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")  # between letters; "t-shirt" and "R2-D2" keep theirs

PLACEHOLDER = re.compile(
    r"(?:class|label|category|cls|object|obj|item|type|id|index|segment|region)?[\s_#:.-]*\d+", re.IGNORECASE
)
NON_CLASSES = {
    *("background", "unlabeled", "unlabelled", "void", "ignore", "ignored", "dont care", "don't care"),
    *("other", "misc", "miscellaneous", "unknown", "undefined", "none", "null", "n/a"),
}


@dataclass(frozen=True, slots=True)
class Recognized:
    """Entries after recognition.

    Attributes:
        entries: the entries, in the same order.
        changes: pairs of the name that was written and the names that are used. Differences of only case and
            spaces are left out.
    """

    entries: tuple[Entry, ...]
    changes: tuple[tuple[str, str], ...] = ()


def recognize(entries: Sequence[Entry]) -> Recognized:
    """Replace dataset spellings.

    - A list that is a preset's, name for name, does not change.
    - The official list of a dataset gets the names and colors of its preset.
    - An official name that is a code, such as "wall-other-merged", gets those of its category.
    - Every other name is normalized, see `normal_name`.

    Thing or stuff, id and color stay as written; what is not specified comes from the preset.
    """
    if all(_is_plain(entry) for entry in entries) or is_published(entries):
        return Recognized(tuple(entries))
    if official := _official_categories(entries):
        found = [
            replace(entry, names=tuple(dict.fromkeys(source.names)), color=entry.color or source.color)
            for entry, source in zip(entries, official, strict=True)
        ]
    else:
        sources = [_code_category(entry) for entry in entries]
        found = [_replace(entry, source) for entry, source in zip(entries, sources, strict=True)]
        found = _without_shared(found, sources)
    changes = tuple(
        (", ".join(entry.names), ", ".join(new.names))
        for entry, new in zip(entries, found, strict=True)
        if list(map(_loosely, new.names)) != list(map(_loosely, dict.fromkeys(entry.names)))
    )
    return Recognized(tuple(found), changes)


def normal_name(name: str) -> str:
    """Return a name as a text tower reads it best.

    A name that a preset contains does not change. Otherwise the spelling of a preset is used if only upper
    case, underscores or hyphens differ. If there is none, underscores and inner hyphens become
    spaces, and codes such as "-merged" are dropped.
    """
    name = unicodedata.normalize("NFC", BLANKS.sub(" ", name))
    if PLAIN.fullmatch(name) and name not in JOINED_NAMES:
        return name
    if name in _published_spellings():
        return name
    known = _spellings()
    plain = name.rsplit("--", 1)[-1]  # Mapillary's hierarchy: "object--vehicle--car"
    if re.search(r"[_-]", plain):
        plain = CODE_ENDING.sub("", plain) or plain
    joined = JOINED_NAMES.get(plain.casefold(), plain)
    if joined != name or plain != plain.lower() or re.search(r"[_-]", plain):
        spelled = known.get(fold(joined))
        if spelled is not None:
            return spelled
    return " ".join(HYPHEN.sub(" ", joined.replace("_", " ")).split(" ")).strip() or name


def is_placeholder(name: str) -> bool:
    """Return whether a name says nothing about what is visible: "class_1", "LABEL 3", "7", "background"."""
    return bool(PLACEHOLDER.fullmatch(name.strip())) or fold(name) in NON_CLASSES


def is_code(name: str) -> bool:
    """Return whether a name is spelled for programs: with underscores, or with codes such as "-merged"."""
    return "_" in name or "--" in name or bool(CODE_ENDING.search(name))


def match_categories(categories: Sequence[Category], vocabulary: Sequence[Category]) -> dict[int, int]:
    """Map category ids to indices in a vocabulary, for categories that share a name.

    Equal names decide. Only a category without an equal name is compared loosely: without regard to upper
    case, underscores, hyphens, a plural s and codes such as "-merged". Without a match it is left out.
    """
    exact = {name: index for index, category in enumerate(vocabulary) for name in category.names}
    loose: dict[str, int] = {}
    for index, category in enumerate(vocabulary):
        for key in _loose_keys(category):
            loose.setdefault(key, index)
    found = {}
    for category in categories:
        matches = [exact[name] for name in category.names if name in exact]
        matches = matches or [loose[key] for key in _loose_keys(category) if key in loose]
        if matches:
            found[category.id] = matches[0]
    return found


def fold(name: str) -> str:
    """Return a name without upper case, and with spaces for underscores and hyphens."""
    return " ".join(re.sub(r"[_-]", " ", name.casefold()).split())


def _is_plain(entry: Entry) -> bool:
    """Return whether an entry needs no look-up; with an id it may be part of a dataset's list."""
    return entry.id is None and all(
        PLAIN.fullmatch(name) and name not in JOINED_NAMES and not CODE_ENDING.search(name)
        for name in entry.names
    )


def _loosely(name: str) -> str:
    return BLANKS.sub(" ", name.casefold())


def _loose_keys(category: Category) -> Iterator[str]:
    for name in category.names:
        yield match_key(normal_name(name))
    for entry in recognize([Entry(category.names)]).entries:
        yield from map(match_key, entry.names)


def _replace(entry: Entry, source: Category | None) -> Entry:
    """Return an entry with the names and the color of a preset's category, or with normal names."""
    if source is None:
        return replace(entry, names=tuple(dict.fromkeys(map(normal_name, entry.names))))
    codes = _codes()
    kept = [normal_name(name) for name in entry.names if _code_key(name) not in codes]
    plain = [name for name in source.names if _code_key(name) not in codes]
    return replace(
        entry,
        names=tuple(dict.fromkeys((*kept, *(plain or source.names)))),
        color=entry.color or source.color,
    )


def _without_shared(entries: Sequence[Entry], sources: Sequence[Category | None]) -> list[Entry]:
    """Drop synonyms that came with a preset's category and that another entry has too."""
    owners = Counter(name for entry in entries for name in entry.names)
    return [
        entry
        if source is None
        else replace(
            entry,
            names=tuple(
                name
                for position, name in enumerate(entry.names)
                if owners[name] == 1 or position == 0 or name not in source.names
            ),
        )
        for entry, source in zip(entries, sources, strict=True)
    ]


def _code_category(entry: Entry) -> Category | None:
    """Return the preset's category whose official name is a code and one of the entry's names."""
    keys = [key for name in entry.names if (key := _code_key(name))]
    return next((_codes()[key] for key in keys if key in _codes()), None)


def _code_key(name: str) -> str:
    """Return the key of a code. Plain names, such as "window blind", have none."""
    if re.search(r"[_-]", name) or CODE_ENDING.search(name):
        return re.sub(r"\s*([_-]+)\s*|\s+", lambda found: "-" * len(found[1] or " "), name.strip().casefold())
    return ""


@cache
def _codes() -> dict[str, Category]:
    """The categories whose official name is a code, by `_code_key`."""
    codes: dict[str, Category] = {}
    for preset in CODE_PRESETS:
        for category in preset_categories(preset):
            spelled = (*_official_names(preset).get(category.id, ()), category.name)
            for name in spelled:
                if "-" in name and name not in ("ash-bin", "double-decker"):
                    codes.setdefault(_code_key(name), category)
    return codes


@cache
def _published_spellings() -> frozenset[str]:
    """All names of all presets that are plain English."""
    codes = _codes()
    return frozenset(
        name
        for preset in PRESETS
        for category in preset_categories(preset)
        for name in category.names
        if _code_key(name) not in codes and name not in JOINED_NAMES
    )


@cache
def _spellings() -> dict[str, str]:
    """The presets' spelling of names, by `fold`: the first one without upper case, otherwise the first."""
    found: dict[str, str] = {}
    published = _published_spellings()
    for preset in PRESETS:
        for category in preset_categories(preset):
            for name in category.names:
                key = fold(name)
                if name in published and (key not in found or found[key] != found[key].lower()):
                    found[key] = name
    return found


def _official_categories(entries: Sequence[Entry]) -> list[Category] | None:
    """Return the preset's categories of these entries if they are the official names of one dataset.

    Either ids and names are those of the complete list, or the list contains all names and one is a code.
    """
    keys = [_list_key(entry.names) for entry in entries]
    has_code = len(set(keys)) == len(keys) > 1 and any(map(_code_category, entries))
    ids = {entry.id for entry in entries}
    for preset in PRESETS:
        categories = {category.id: category for category in preset_categories(preset)}
        if ids == categories.keys() and len(entries) == len(categories):
            official = _official_keys(preset)
            chosen = [categories[entry.id] for entry in entries if entry.id is not None]
            if all(category.id in official.get(key, ()) for key, category in zip(keys, chosen, strict=True)):
                return chosen
        if has_code and preset in CODE_PRESETS and _official_keys(preset).keys() >= set(keys):
            return [categories[_official_keys(preset)[key][0]] for key in keys]
    return None


@cache
def _official_keys(preset: str) -> dict[tuple[str, ...], list[int]]:
    """The category ids of a preset by their official names, then by the preset's first names."""
    found: dict[tuple[str, ...], list[int]] = {}
    categories = preset_categories(preset)
    official = _official_names(preset)
    for names_of in (lambda category: official.get(category.id, ()), lambda category: (category.name,)):
        for category in categories:
            for name in names_of(category):
                found.setdefault(_list_key(split_names(name)), []).append(category.id)
    return found


@cache
def _official_names(preset: str) -> dict[int, tuple[str, ...]]:
    text = (files("ovrcoat.vocabulary") / "presets" / "official_names.json").read_text(encoding="utf-8")
    listed: dict[str, str | list[str]] = json.loads(text).get(preset, {})
    return {int(id): (name,) if isinstance(name, str) else tuple(name) for id, name in listed.items()}


def _list_key(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(fold, names))
