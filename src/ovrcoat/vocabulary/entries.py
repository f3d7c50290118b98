"""The text syntax `"cat, kitty; sofa, couch; wall#stuff; dog#thing"`: text in, entries out.

Categories are split at ";" or line ends, names at ",". An `Entry` is what was written and nothing more; thing
or stuff and the ids are completed in `catalog.py`.
"""

import re
from dataclasses import dataclass

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.category import Color


@dataclass(frozen=True, slots=True)
class Entry:
    """A category as somebody wrote it; None is what was left open."""

    names: tuple[str, ...]
    is_thing: bool | None = None
    id: int | None = None
    color: Color | None = None


def split_names(text: str) -> tuple[str, ...]:
    """Names between commas, without blanks at their ends; empty ones are left out."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def parse_entry(text: str, *, id: int | None = None) -> Entry:
    """Read one category: names split at commas, perhaps "#thing" or "#stuff" at the end.

    Raises:
        VocabularyError: there is no name, or "#" is followed by something else.
    """
    before, mark, kind = text.partition("#")
    kind = kind.strip().lower()
    if mark and kind not in ("thing", "stuff"):
        raise VocabularyError(
            f"{text.strip()!r}: '#' is followed by {kind!r}, but only #thing or #stuff may end a category. "
            "A name that holds '#' can be given in a .json file"
        )
    names = split_names(before)
    if not names:
        raise VocabularyError(f"{text.strip()!r} holds no name; write for example 'cat, kitty#thing'")
    return Entry(names, is_thing=kind == "thing" if mark else None, id=id)


def parse_entries(text: str) -> tuple[Entry, ...]:
    """Read a whole text; blank categories (as after a last ";") are left out.

    Raises:
        VocabularyError: see `parse_entry`.
    """
    return tuple(parse_entry(part) for part in re.split(r"[;\r\n]", text) if part.strip())
