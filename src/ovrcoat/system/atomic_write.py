"""Atomic writes: a file appears complete or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import IO
from uuid import uuid4

from ovrcoat.errors import OutputError

ADVICE = "Choose another output folder."


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], *, advice: str = ADVICE) -> None:
    """Write a new file next to `path` by calling `write`, then move it to `path`.

    Raises:
        OutputError: the file cannot be written; the message gives the reason and ends with `advice`.
    """
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            try:
                write(file)
                file.close()
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error, advice=advice) from error


def cannot_write(path: Path, error: OSError, *, advice: str = ADVICE) -> OutputError:
    """Return the error for a failed attempt to write `path`."""
    return OutputError(f"cannot write {path}: {error.strerror or error}. {advice}")
