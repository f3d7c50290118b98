"""What an evaluation has done so far, image by image, so that an interrupted run can go on.

A file of JSON lines. The first is the header: all that an image's numbers depend on. Then one line per photo.
Lines are only ever appended; what a crash left of a last one is dropped.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ovrcoat.errors import OutputError
from ovrcoat.system.atomic_write import cannot_write, write_atomically

FORMAT = "ovrcoat evaluation journal 1"
LINES_PER_SYNC = 20  # so many images are lost at most if the power fails; a killed process loses none
_ADVICE = "choose another output folder, or start anew with --overwrite (overwrite=True)"

Entry = dict[str, Any]


class Journal:
    """An open journal.

    A file with an equal header is gone on with; `overwrite` starts anew whatever is there.

    Attributes:
        path: the file.

    Raises:
        OutputError: the file belongs to another run (the message names what differs), is damaged, no journal,
            or cannot be written.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        # as it will be read: tuples are lists, keys are text
        self._header = json.loads(json.dumps({"format": FORMAT, **header}))
        self._unsynced = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if overwrite or not path.exists() or path.stat().st_size == 0:
                line = _line(self._header)
                write_atomically(path, lambda file: file.write(line))
            self._check_header()
            self._end_of_good_lines = self._find_end()
            self._file: IO[bytes] = path.open("r+b")
            self._file.truncate(self._end_of_good_lines)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise cannot_write(path, error) from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def entries(self) -> Iterator[Entry]:
        """The entries that were there when the journal was opened, one after the other."""
        with self.path.open("rb") as file:
            file.readline()
            while file.tell() < self._end_of_good_lines:
                yield json.loads(file.readline())

    def append(self, entry: Entry) -> None:
        """Add an entry; when this returns, it outlives the process.

        Raises:
            OutputError: the file cannot be written, say because the disk is full.
        """
        try:
            self._file.write(_line(entry))
            self._file.flush()
            self._unsynced += 1
            if self._unsynced >= LINES_PER_SYNC:
                os.fsync(self._file.fileno())
                self._unsynced = 0
        except OSError as error:
            advice = "What was done before is kept; make room and run the same command again"
            raise cannot_write(self.path, error, advice=advice) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check_header(self) -> None:
        """Compare the file's header with this run's."""
        with self.path.open("rb") as file:
            found = _parsed(file.readline())
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise OutputError(f"{self.path} is no journal that this ovrcoat reads; {_ADVICE}")
        if different := list(_differences(found, self._header)):
            raise OutputError(
                f"{self.path} belongs to another run; {_ADVICE}. What differs:\n" + "\n".join(different)
            )

    def _find_end(self) -> int:
        """Where the last whole line ends.

        Raises:
            OutputError: a line before the last is damaged.
        """
        with self.path.open("rb") as file:
            end = len(file.readline())
            for number, line in enumerate(file, start=2):
                if not line.endswith(b"\n") or not isinstance(_parsed(line), dict):
                    if file.read(1):
                        raise OutputError(f"{self.path}: line {number} is damaged; {_ADVICE}")
                    break  # a crash cut this line off: its image is evaluated again
                end += len(line)
        return end


def _line(value: Entry) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _parsed(line: bytes) -> Any:
    """The value of a line; None if it is no JSON."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any], *, within: str = "") -> Iterator[str]:
    """One line per setting that differs: the file's value, then this run's."""
    for key in dict.fromkeys([*found, *wanted]):
        there, here = found.get(key), wanted.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            yield from _differences(there, here, within=f"{within}{key}.")
        elif there != here:
            yield f"- {within}{key}: there {_short(there)}, now {_short(here)}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
