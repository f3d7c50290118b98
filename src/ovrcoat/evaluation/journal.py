"""Journal: a file that records finished images, so that an interrupted run can resume.

The file contains JSON lines. The first line is a header with everything that the numbers of an image depend
on. Each further line is one entry. Lines are only appended; an incomplete last line, left by a crash, is
dropped.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ovrcoat.errors import OutputError
from ovrcoat.formats.json_models import decode_model, encode_model
from ovrcoat.system.atomic_write import cannot_write, write_atomically
from ovrcoat.system.documents import DocumentError, parse_json
from ovrcoat.system.folder_lock import FolderLock
from ovrcoat.system.input_files import JSON, open_input

FORMAT = "ovrcoat evaluation journal 3"
MAX_DIFFERENCES = 10  # that a message lists
LINES_PER_SYNC = 20  # entries that a power failure can lose at most; a killed process loses none
_ADVICE = "choose another output folder, or start over with --overwrite (overwrite=True)"


class JournalLine(BaseModel):
    """Base class of journal entries: immutable, and validated when it is created or read."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Entry = TypeVar("Entry", bound=JournalLine)


class Journal(Generic[Entry]):
    """An open journal of entries of one type.

    Args:
        path: The file. It is created if it does not exist; if its header equals `header`, new entries are
            appended.
        header: JSON-serializable facts that must be equal for two runs to share the file.
        entry_type: Type of the entries.
        overwrite: Start a new file, whatever the existing one contains.

    One process at a time can open the file. The lock ends when the journal is closed or the process ends.

    Raises:
        OutputError: The file is in use by another process, belongs to a different run (the message lists the
            differences), has another format, is damaged, or cannot be written.
    """

    def __init__(
        self, path: Path, header: Mapping[str, Any], *, entry_type: type[Entry], overwrite: bool = False
    ) -> None:
        self.path = path
        self._entry_type = entry_type
        # compared in the form in which it is read back: tuples become lists, keys become text
        self._header = json.loads(json.dumps({"format": FORMAT, **header}))
        self._unsynced = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        self._lock = FolderLock(path.parent, prefix=f".{path.name}")
        try:
            self._file = self._open(overwrite=overwrite)
        except OSError as error:
            self._lock.release()
            raise cannot_write(path, error) from error
        except BaseException:
            self._lock.release()
            raise

    def _open(self, *, overwrite: bool) -> IO[bytes]:
        """Create or check the file, drop an incomplete last line, and open the file for appending."""
        if overwrite or not self.path.exists() or self.path.stat().st_size == 0:
            line = json.dumps(self._header, allow_nan=False, separators=(",", ":")).encode() + b"\n"
            write_atomically(self.path, lambda file: file.write(line), durable=True)
        self._check_header()
        self._end_of_entries = self._find_end()
        file = self.path.open("ab")  # appends even if another program has changed the file
        file.truncate(self._end_of_entries)
        return file

    def __enter__(self) -> "Journal[Entry]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def entries(self) -> Iterator[Entry]:
        """Yield the entries that the file contained when it was opened."""
        with open_input(self.path, JSON) as file:
            file.readline()
            while file.tell() < self._end_of_entries:
                yield decode_model(self._entry_type, file.readline())

    def append(self, entry: Entry) -> None:
        """Append an entry. Once this method returns, the entry survives the end of the process.

        Raises:
            OutputError: The file cannot be written, for example because the disk is full.
        """
        try:
            self._file.write(encode_model(entry, exclude_defaults=True) + b"\n")
            self._file.flush()
            self._unsynced += 1
            if self._unsynced >= LINES_PER_SYNC:
                os.fsync(self._file.fileno())
                self._unsynced = 0
        except OSError as error:
            advice = "Finished images are kept; free some space and run the same command again"
            raise cannot_write(self.path, error, advice=advice) from error

    def close(self) -> None:
        """Wait until all entries are on the disk, close the file and release its lock."""
        try:
            if not self._file.closed:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        finally:
            self._file.close()
            self._lock.release()

    def _check_header(self) -> None:
        """Compare the header of the file with that of this run."""
        with open_input(self.path, JSON) as file:
            found = _parse_json(file.readline())
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            found_format = found.get("format") if isinstance(found, dict) else None
            raise OutputError(
                f"{self.path} is not a journal of this version of ovrcoat: its format is {found_format!r}, "
                f"expected {FORMAT!r}; {_ADVICE}"
            )
        if differences := list(_differences(found, self._header)):
            raise OutputError(
                f"{self.path} belongs to a different run; {_ADVICE}. Differences:\n"
                + "\n".join(_first(differences))
            )

    def _find_end(self) -> int:
        """Return the offset after the last complete line.

        Raises:
            OutputError: A line is damaged. Only an incomplete last line is accepted.
        """
        with open_input(self.path, JSON) as file:
            end = len(file.readline())
            for number, line in enumerate(file, start=2):
                is_complete = line.endswith(b"\n") and _parse_json(line) is not None
                if not is_complete and not file.read(1):
                    break  # cut off by a crash: its image is evaluated again
                if not is_complete or not self._is_valid(line):
                    raise OutputError(f"{self.path}: line {number} is damaged; {_ADVICE}")
                end += len(line)
        return end

    def _is_valid(self, line: bytes) -> bool:
        try:
            decode_model(self._entry_type, line)
        except ValidationError:
            return False
        return True


def _parse_json(line: bytes) -> Any:
    """Return the value of a line, or None if it is not valid JSON."""
    try:
        return parse_json(line)
    except DocumentError:
        return None


def _differences(found: Mapping[Any, Any], expected: Mapping[Any, Any], *, within: str = "") -> Iterator[str]:
    """Yield one line per value that differs: the one in the file, then the one of this run."""
    for key in dict.fromkeys([*found, *expected]):
        there, here = found.get(key), expected.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            yield from _differences(there, here, within=f"{within}{key}.")
        elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
            numbered = [dict(enumerate(values)) for values in (there, here)]
            yield from _differences(*numbered, within=f"{within}{key}.")
        elif there != here:
            yield f"- {within}{key}: {_shorten(there)} in the file, {_shorten(here)} in this run"


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - MAX_DIFFERENCES
    return lines if more <= 0 else [*lines[:MAX_DIFFERENCES], f"- and {more} more"]


def _shorten(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
