"""Files that appear whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import IO
from uuid import uuid4

from ovrcoat.errors import OutputError

ADVICE = "Choose another output folder."


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], *, advice: str = ADVICE) -> None:
    """Let `write` fill a new file beside `path`, then put it there.

    Raises:
        OutputError: the place cannot be written; says why, and ends with `advice`.
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
    """What to tell a user when writing `path` failed."""
    return OutputError(f"cannot write {path}: {error.strerror or error}. {advice}")
