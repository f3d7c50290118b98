"""Output of all verbs: results on stdout; errors, warnings and notes on stderr.

Names, paths and messages can hold any character, so all text passes through `visible` or is JSON.
"""

import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ovrcoat.system.visible_text import visible_lines

if TYPE_CHECKING:
    from ovrcoat.issues import Issue

PACKAGE = str(Path(__file__).parents[1])


@contextmanager
def warnings_as_lines(*, quiet: bool) -> Iterator[None]:
    """Print the package's own `UserWarning`s as one line without a source line, or not at all if `quiet`."""
    show = warnings.showwarning

    def show_as_line(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is not UserWarning or not filename.startswith(PACKAGE):
            show(visible_lines(str(message)), category, filename, lineno, file, line)
        elif not quiet:
            print_note(f"warning: {message}")

    warnings.showwarning = show_as_line
    try:
        yield
    finally:
        warnings.showwarning = show


def print_error(message: str) -> None:
    """Print an error on stderr; every line starts with `error: `."""
    for line in message.split("\n"):
        print_note(f"error: {line}")


def print_note(message: str) -> None:
    """Print text on stderr, so that stdout contains results only."""
    sys.stderr.write(f"{visible_lines(message)}\n")


def print_issues(issues: "Iterable[Issue]", *, quiet: bool = False) -> None:
    """Print issues of a vocabulary on stderr, one per line; with `quiet` only warnings and errors."""
    for issue in issues:
        if issue.severity != "note" or not quiet:
            print_note(f"{issue.severity}: {issue}")


def print_line(text: str) -> None:
    """Print text of the result on stdout."""
    sys.stdout.write(f"{visible_lines(text)}\n")


def print_json(document: object) -> None:
    """Print one JSON document on stdout, in ASCII for any terminal and pipe."""
    sys.stdout.write(f"{json.dumps(document, indent=2, allow_nan=False)}\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout; bold text and lines only on a terminal (rich respects NO_COLOR)."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(Text(visible_lines(column)), overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(visible_lines(cell)) for cell in row))  # Text: brackets in a name are not markup
    # a file or a pipe has no width, and rich would fold lines at 80; FORCE_COLOR asks for colors only
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table)
