"""Logs of a stage: JSON Lines files, to which each step or evaluation adds a line."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ovrcoat.errors import TrainingError
from ovrcoat.system.atomic_write import cannot_write, write_atomically
from ovrcoat.system.documents import parse_json
from ovrcoat.system.input_files import REPORT, read_input
from ovrcoat.system.paths import exists


class StepLog:
    """Appends to a JSON Lines file.

    A resumed run repeats the steps from `first_step` on, so their lines are deleted first.

    Raises:
        TrainingError: an existing log cannot be read.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, *, first_step: int) -> None:
        self._path = path
        keep_lines(path, key="step", below=first_step)
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: Mapping[str, object]) -> None:
        """Write one line at once, so that a killed process loses nothing.

        Raises:
            OutputError: it cannot be written, for example because the disk is full.
        """
        line = f"{json.dumps(dict(record))}\n".encode()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise cannot_write(self._path, error) from error


def keep_lines(path: Path, *, key: str, below: int) -> None:
    """Delete the other lines of a JSON Lines file, if it exists, and a line that was cut off by a kill.

    Args:
        path: the file.
        key: of the number that decides.
        below: lines with a smaller number are kept.

    Raises:
        TrainingError: the file cannot be read.
        OutputError: it cannot be written.
    """
    if exists(path):
        text = "".join(f"{line}\n" for line in _read_lines(path) if _number(line, key) < below)
        write_atomically(path, lambda file: file.write(text.encode()))


def append_line(path: Path, record: Mapping[str, object]) -> None:
    """Append one line to a JSON Lines file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(dict(record))}\n")
    except OSError as error:
        raise cannot_write(path, error) from error


def _read_lines(path: Path) -> list[str]:
    try:
        return read_input(path, REPORT).decode("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be read ({error.strerror or error}); delete it, or choose another output folder"
        ) from error


def _number(line: str, key: str) -> int:
    """The number of a step in a line. A line that was cut off by a kill counts as later than any step."""
    try:
        return int(parse_json(line)[key])
    except (ValueError, KeyError, TypeError):
        return 2**63
