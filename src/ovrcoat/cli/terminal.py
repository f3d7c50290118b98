"""What all verbs share when they speak: errors and notes to stderr, results to stdout."""

import json
import sys
from collections.abc import Iterable, Sequence


def print_error(message: str) -> None:
    """Say on stderr what is wrong, `error: ` before every line."""
    for line in message.splitlines():
        print_note(f"error: {line}")


def print_note(message: str) -> None:
    """A line on stderr, so that stdout holds results only."""
    sys.stderr.write(f"{message}\n")


def print_line(text: str) -> None:
    """A line of the result on stdout."""
    sys.stdout.write(f"{text}\n")


def print_json(document: object) -> None:
    """One JSON document on stdout, in ASCII: it survives any terminal and pipe."""
    print_line(json.dumps(document, indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout; bold and lines only on a terminal (rich honours NO_COLOR)."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: brackets in a name are no markup
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)  # a file or a pipe has no width; rich would fold at 80
    console.print(table)
