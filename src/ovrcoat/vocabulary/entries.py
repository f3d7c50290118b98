"""Parser of the text syntax `"cat, kitty; sofa, couch; wall#stuff; dog#thing"`.

Semicolons and line breaks separate categories, commas separate names; `separators.py` adds the separators of
other tools. An `Entry` holds what was written and nothing else; `catalog.py` adds ids and thing or stuff.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.category import Color
from ovrcoat.vocabulary.separators import split_categories, split_synonyms

# Four times LVIS, the longest vocabulary in use. The text tower encodes each name 14 times.
MAX_CATEGORIES = 5_000
MAX_NAMES = 1_000  # of one category; the longest published list of synonyms has 74
MAX_NAMES_IN_TOTAL = 20_000
MAX_NAME_LENGTH = 1_000  # characters; more than any text tower accepts


@dataclass(frozen=True, slots=True)
class Entry:
    """A category as written by its author. None: not specified."""

    names: tuple[str, ...]
    is_thing: bool | None = None
    id: int | None = None
    color: Color | None = None


def split_names(text: str) -> tuple[str, ...]:
    """Split at commas outside brackets, strip whitespace and drop empty names."""
    return split_synonyms(text)


def parse_entry(text: str, *, id: int | None = None) -> Entry:
    """Parse one category: names separated by commas, optionally followed by "#thing" or "#stuff".

    Raises:
        VocabularyError: there is no name, or "#" is followed by something else.
    """
    before, mark, kind = text.partition("#")
    kind = kind.strip().lower()
    if mark and kind not in ("thing", "stuff"):
        raise VocabularyError(
            f"{text.strip()!r}: '#' is followed by {kind!r}, expected #thing or #stuff at the end of a "
            "category. To use a name that contains '#', write the vocabulary as a .json file"
        )
    names = split_names(before)
    if not names:
        raise VocabularyError(f"{text.strip()!r} contains no name; write for example 'cat, kitty#thing'")
    return Entry(names, is_thing=kind == "thing" if mark else None, id=id)


def parse_entries(text: str) -> tuple[Entry, ...]:
    """Parse a whole text. Blank categories, for example after a trailing semicolon, are skipped.

    Raises:
        VocabularyError: see `parse_entry`.
    """
    parts = [part for part in split_categories(text) if part.strip()]
    check_count(len(parts))
    return tuple(map(parse_entry, parts))


def check_count(categories: int) -> None:
    """Raise if there are too many categories, before any of them is processed.

    Raises:
        VocabularyError: there are more than `MAX_CATEGORIES`.
    """
    if categories > MAX_CATEGORIES:
        raise VocabularyError(
            f"{categories:,} categories are too many, {MAX_CATEGORIES:,} are allowed; split the vocabulary"
        )


def check_sizes(entries: Sequence[Entry]) -> None:
    """Raise if there are too many categories or names, or names that are too long.

    Raises:
        VocabularyError: a limit is exceeded.
    """
    check_count(len(entries))
    if (total := sum(len(entry.names) for entry in entries)) > MAX_NAMES_IN_TOTAL:
        raise VocabularyError(
            f"{total:,} names are too many, {MAX_NAMES_IN_TOTAL:,} are allowed; split the vocabulary"
        )
    for entry in entries:
        if len(entry.names) > MAX_NAMES:
            raise VocabularyError(
                f"{entry.names[0][:40]!r} has {len(entry.names):,} names, {MAX_NAMES:,} are allowed; put "
                "each class on a line of its own"
            )
        if longest := next((name for name in entry.names if len(name) > MAX_NAME_LENGTH), None):
            raise VocabularyError(
                f"the name {longest[:40]!r}… has {len(longest):,} characters, {MAX_NAME_LENGTH:,} are allowed"
            )
