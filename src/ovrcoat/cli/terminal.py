"""Output of all verbs: results on stdout; errors, warnings and notes on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence


def print_error(message: str) -> None:
    """Print an error on stderr; every line starts with `error: `."""
    for line in message.splitlines():
        print_note(f"error: {line}")


def print_note(message: str) -> None:
    """Print a line on stderr, so that stdout contains results only."""
    sys.stderr.write(f"{message}\n")


def print_line(text: str) -> None:
    """Print a line of the result on stdout."""
    sys.stdout.write(f"{text}\n")


def print_json(document: object) -> None:
    """Print one JSON document on stdout, in ASCII for any terminal and pipe."""
    print_line(json.dumps(document, indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout; bold text and lines only on a terminal (rich respects NO_COLOR)."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: brackets in a name are not markup
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)  # a file or a pipe has no width, and rich would fold lines at 80
    console.print(table)
