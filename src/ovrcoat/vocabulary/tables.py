"""Category lists in CSV files, with and without a header."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.entries import Entry, check_count, split_names

NAME_COLUMNS = (
    "name",
    "class_name",
    "class",
    "label",
    "category",
    "label_name",
    "readable",
    "names",
    "title",
)
ID_COLUMNS = ("id", "class_id", "label_id", "category_id", "idx", "index", "value", "class_index")
COLOR_COLUMNS = (("r", "g", "b"), ("red", "green", "blue"))
THING_COLUMNS = ("isthing", "is_thing", "thing")
INTEGER = re.compile(r"\d{1,9}", re.ASCII)
NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:e[-+]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Positions of the columns that are used."""

    names: tuple[int, ...]
    id: int | None = None
    color: tuple[int, ...] = ()
    thing: int | None = None
    stuff: int | None = None


def parse_table(text: str) -> tuple[Entry, ...]:
    """Parse a table with one category per row.

    The columns are separated by commas, semicolons or tabs. A header names the columns. Without a header,
    columns of text hold names. A first column of numbers is the id, and three at the end are the color.

    Raises:
        VocabularyError: there is no column of names, or a row has no name.
    """
    lines = [line for line in text.splitlines() if line.strip(" \t,;") and not line.startswith("#")]
    if not lines:
        return ()
    check_count(len(lines) - 1)  # of which one may be the header
    delimiter = max(",;\t", key=lines[0].count)
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        ]
    except csv.Error as error:
        raise VocabularyError(f"this is not a valid table ({error}); check its quotation marks") from error
    columns = _named_columns([re.sub(r"[\s-]+", "_", cell.casefold()) for cell in rows[0]])
    if columns is not None:
        return tuple(_entry(row, number, columns) for number, row in enumerate(rows[1:], start=2))
    if _looks_like_header(rows):
        raise VocabularyError(
            f"the header of this table is {', '.join(rows[0])}, expected a column "
            f"{', '.join(NAME_COLUMNS[:5])}; rename the column that holds the class names"
        )
    columns = _guessed_columns(rows)
    return tuple(_entry(row, number, columns) for number, row in enumerate(rows, start=1))


def _named_columns(header: Sequence[str]) -> _Columns | None:
    """Return the columns by their titles; None if no title is one of names."""
    first = {cell: position for position, cell in reversed(list(enumerate(header)))}

    def find(*titles: str) -> int | None:
        return next((first[title] for title in titles if title in first), None)

    name = find(*NAME_COLUMNS)
    if name is None:
        return None
    color = next((titles for titles in COLOR_COLUMNS if set(titles) <= first.keys()), ())
    return _Columns(
        (name,),
        id=find(*ID_COLUMNS),
        color=tuple(first[title] for title in color),
        thing=find(*THING_COLUMNS),
        stuff=find("stuff", "isstuff", "is_stuff"),
    )


def _looks_like_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row has text where all other rows have numbers."""
    return len(rows) > 1 and any(
        not NUMBER.fullmatch(cell)
        and all(len(row) > position and NUMBER.fullmatch(row[position]) for row in rows[1:])
        for position, cell in enumerate(rows[0])
    )


def _guessed_columns(rows: Sequence[Sequence[str]]) -> _Columns:
    width = max(map(len, rows))
    numeric = [
        all(not row[position] or NUMBER.fullmatch(row[position]) for row in rows if len(row) > position)
        for position in range(width)
    ]
    if all(numeric):
        raise VocabularyError("this table contains only numbers, expected a column with the class names")
    has_id = numeric[0] and all(INTEGER.fullmatch(row[0]) for row in rows)
    has_color = width > 3 and all(numeric[-3:])
    return _Columns(
        tuple(position for position in range(width) if not numeric[position]),
        id=0 if has_id else None,
        color=tuple(range(width - 3, width)) if has_color else (),
    )


def _entry(row: Sequence[str], number: int, columns: _Columns) -> Entry:
    def cell(position: int | None) -> str:
        return row[position] if position is not None and position < len(row) else ""

    # ADE20K's table separates synonyms by semicolons
    names = tuple(
        name for position in columns.names for part in cell(position).split(";") for name in split_names(part)
    )
    if not names:
        raise VocabularyError(f"row {number} of this table has no class name; add it or remove the row")
    kind = {"1": True, "true": True, "0": False, "false": False}
    is_thing = kind.get(cell(columns.thing).casefold())
    is_stuff = kind.get(cell(columns.stuff).casefold())
    color = [
        int(value) for value in map(cell, columns.color) if INTEGER.fullmatch(value) and int(value) <= 255
    ]
    return Entry(
        names,
        is_thing=not is_stuff if is_thing is None and is_stuff is not None else is_thing,
        id=int(cell(columns.id)) if INTEGER.fullmatch(cell(columns.id)) else None,
        color=(color[0], color[1], color[2]) if len(color) == 3 else None,
    )
