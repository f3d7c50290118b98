"""What is wrong or doubtful about a list of words, in messages that say what to do."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ovrcoat.vocabulary.catalog import closest_preset, is_published
from ovrcoat.vocabulary.category import Category
from ovrcoat.vocabulary.records import MAX_CATEGORIES

TextLength = Callable[[str], tuple[int, int]]  # text -> tokens that it takes, the most that fit

UNSEEN_KINDS = {
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
}  # Unicode: control, format, lone surrogate, line and paragraph ends
JOINERS = {"\u200c", "\u200d"}  # format characters that belong to words (Persian, emoji)
PUNCTUATION_KINDS = {"Sm", "Sc", "Sk"}  # besides all P (punctuation) and Z (blanks); So is left out: emoji


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: an error forbids use, a warning says that something else was probably meant."""

    level: Literal["error", "warning"]
    message: str


def find_problems(
    categories: Sequence[Category],
    background: Sequence[Category],
    *,
    repeats: Sequence[str],
    text_length: TextLength | None,
) -> tuple[Problem, ...]:
    """Check a whole vocabulary; `repeats` are the names that were dropped inside their category."""
    if not categories:
        message = (
            "no words are given; write for example 'cat, kitty; wall#stuff', or a preset's name like 'coco'"
        )
        return (Problem("error", message),)
    every = (*categories, *background)
    names = list(dict.fromkeys(name for category in every for name in category.names))
    return (
        *_check_size(every),
        *_check_characters(names),
        *_check_shared(categories, background),
        *_check_ids(categories),
        *(() if text_length is None else _check_length(names, text_length)),
        *_check_repeats(repeats),
        *_check_intention(categories),
    )


def _check_size(every: Sequence[Category]) -> Iterator[Problem]:
    if len(every) > MAX_CATEGORIES:
        yield Problem(
            "error",
            f"{len(every):,} categories are too many, {MAX_CATEGORIES:,} are allowed; split the list",
        )


def _check_characters(names: Sequence[str]) -> Iterator[Problem]:
    if blank := [name for name in names if not name.strip()]:
        yield Problem("error", f"a name holds nothing but blanks: {_show(blank)}; remove it")
    if unseen := [name for name in names if any(map(_is_unseen, name))]:
        message = (
            f"names hold line ends, control or invisible characters: {_show(unseen)}; remove those characters"
        )
        yield Problem("error", message)
    if signs := [name for name in names if name.strip() and all(map(_is_punctuation, name))]:
        yield Problem("error", f"names are nothing but punctuation: {_show(signs)}; write words")


def _check_shared(categories: Sequence[Category], background: Sequence[Category]) -> Iterator[Problem]:
    """A name in two categories: chance would choose. Published lists do it and are left alone."""
    owners: defaultdict[str, dict[int, str]] = defaultdict(dict)
    first = len(categories) if is_published(categories) else 0
    for position, category in enumerate((*categories, *background)):
        for name in category.names:
            owners[name.casefold()][position] = name
    shared = [found[min(found)] for found in owners.values() if len(found) > 1 and max(found) >= first]
    if shared:
        message = (
            f"names stand in more than one category (hidden ones count): {_show(shared)}; keep each in one"
        )
        yield Problem("error", message)


def _check_ids(categories: Sequence[Category]) -> Iterator[Problem]:
    ids = [category.id for category in categories]
    if len(set(ids)) < len(ids):
        twice = sorted({id for id in ids if ids.count(id) > 1})
        yield Problem("error", f"categories have the same id: {_show(twice)}; give each its own")


def _check_length(names: Sequence[str], text_length: TextLength) -> Iterator[Problem]:
    for name in names:
        tokens, limit = text_length(name)
        if tokens > limit:
            message = (
                f"{_shorten(name)} takes {tokens} tokens, the model's text tower takes {limit}; shorten it"
            )
            yield Problem("error", message)


def _check_repeats(repeats: Sequence[str]) -> Iterator[Problem]:
    if repeats:
        yield Problem(
            "warning", f"names are given twice in their category: {_show(repeats)}; the repeats were dropped"
        )


def _check_intention(categories: Sequence[Category]) -> Iterator[Problem]:
    """One lonely category is often something else that was written differently."""
    if len(categories) > 1:
        return
    names = categories[0].names
    if len(names) > 1:
        message = f"this is ONE category with {len(names)} names; did you mean {'; '.join(names[:5])!r}? "
        yield Problem("warning", message + "Commas separate synonyms, semicolons separate categories")
    elif close := closest_preset(names[0]):
        yield Problem("warning", f"{names[0]!r} is taken as a word; did you mean the preset {close!r}?")


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in UNSEEN_KINDS and character not in JOINERS


def _is_punctuation(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] in "PZ" or kind in PUNCTUATION_KINDS


def _show(items: Iterable[str | int]) -> str:
    """Give the first five, so that a list with a thousand faults stays readable."""
    found = list(items)
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return ", ".join(map(_shorten, found[:5])) + more


def _shorten(item: str | int) -> str:
    text = repr(item)
    return text if len(text) <= 60 else f"{text[:57]}..."
