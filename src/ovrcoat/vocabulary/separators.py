"""Separators of class names: ours, and those of other tools where they are unambiguous.

Semicolons and line breaks separate categories, commas separate synonyms. Inside brackets nothing is split.
Without a semicolon or a line break, these separate categories too:

- "|" and the ideographic comma "、"
- GroundingDINO's full stop: "cat . dog" and "cat. dog."
"""

import ast
import json
import re

SEMICOLONS = ";；"  # with the full-width semicolon
COMMAS = ",，"  # with the full-width comma
BARS = "|｜"
IDEOGRAPHIC_COMMA = "、"  # enumerates; between semicolons it is a comma
OPENING, CLOSING = "([{（［【", ")]}）］】"
SPACED_STOP = re.compile(r"(?<!\s)\s+\.(?=\s|$)")  # "cat . dog ."; linear time also for a million spaces
STOP = re.compile(r"\.(?=\s|$)")
# These look like separators but may belong to a name: "cat/dog", a backslash and an n, "cat. dog".
LIKELY = re.compile(r"\\n|\s*/\s*|\.\s+|\s*[·•]\s*|\t+|\s+-\s+")


def split_categories(text: str) -> list[str]:
    """Split text into categories, which may be blank."""
    if (items := _listed(text)) is not None:
        return items
    lines = re.split(r"[\r\n]", text)
    parts = [part for line in lines for part in _split(line, SEMICOLONS)]
    if len([part for part in parts if part.strip()]) > 1 or any(mark in text for mark in SEMICOLONS):
        return parts
    text = text.strip()
    for separators in (BARS, IDEOGRAPHIC_COMMA):
        if len(parts := _split(text, separators)) > 1:
            return parts
    if SPACED_STOP.search(text):
        return SPACED_STOP.split(text)
    if text.rstrip().endswith(".") and len(STOP.findall(text)) > 1:
        return STOP.split(text)
    return [text]


def split_synonyms(text: str) -> tuple[str, ...]:
    """Split a category at commas outside brackets, strip whitespace and drop empty names."""
    names = _split(text, COMMAS + IDEOGRAPHIC_COMMA)
    return tuple(name.strip() for name in names if name.strip())


def likely_names(name: str) -> list[str]:
    """Return the names that one name might have been meant to list, or an empty list."""
    parts = [part.strip() for part in LIKELY.split(name.rstrip(".")) if part.strip()]
    return parts if len(parts) > 1 else []


def _listed(text: str) -> list[str] | None:
    """Return the items of a list in brackets, as JSON, Python or YAML write it; None for other text.

    A map from numbers to names, as in Hugging Face's `id2label`, counts as a list.
    """
    stripped = text.strip()
    if re.fullmatch(r"\{\s*['\"]?\d.*\}", stripped, re.DOTALL):
        return _parsed(stripped)
    if not (stripped.startswith("[") and stripped.endswith("]")):
        return None
    if (items := _parsed(stripped)) is not None:
        return items
    inner = stripped[1:-1]
    return None if re.search(r"[][;\r\n]", inner) else inner.split(",")


def _parsed(text: str) -> list[str] | None:
    for parse in (json.loads, ast.literal_eval):
        try:
            items = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        items = list(items.values()) if isinstance(items, dict) else items
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return items
    return None


def _split(text: str, separators: str) -> list[str]:
    """Split at any of `separators` outside brackets; at all of them if brackets are not balanced."""
    parts, start, depth = [], 0, 0
    for position, character in enumerate(text):
        if character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth -= 1
            if depth < 0:
                break
        elif character in separators and not depth:
            parts.append(text[start:position])
            start = position + 1
    if depth:
        return re.split(f"[{re.escape(separators)}]", text)
    return [*parts, text[start:]]
