"""Parser of the text syntax `"cat, kitty; sofa, couch; wall#stuff; dog#thing"`.

Semicolons and line breaks separate categories, commas separate names; `separators.py` adds the separators of
other tools. An `Entry` holds what was written and nothing else; `catalog.py` adds ids and thing or stuff.
"""

from dataclasses import dataclass

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.category import Color
from ovrcoat.vocabulary.separators import split_categories, split_synonyms


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
    return tuple(parse_entry(part) for part in split_categories(text) if part.strip())
