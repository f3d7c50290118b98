"""Atomic writes: a file appears complete or not at all, and files of other programs are not replaced.

All verbs write their outputs through this module, so the rules hold for every output:

- A file is written under a temporary name next to its final place, checked, and then moved there.
- A file that exists and was not written by this package is replaced only if overwriting is allowed.
"""

import io
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from ovrcoat.errors import OutputError
from ovrcoat.system.input_files import ARCHIVE, open_input

ADVICE = "Choose another output folder."
LOSS_ADVICE = "Choose another place, or allow overwriting (--overwrite, in Python overwrite=True)."

# How files of this package start: PNG text chunk, JPEG comment, JSON document, Markdown or XML comment, first
# array of an NPZ.
PNG_SIGNATURE = ("Software", "ovrcoat")
JPEG_SIGNATURE = b"written by ovrcoat"
MARKDOWN_SIGNATURE = "<!-- written by ovrcoat -->"
_HEAD_BYTES = 4096
_PART_NAME = re.compile(r"\.(?:(?P<name>.+)\.)?[0-9a-f]{32}\.part", re.DOTALL)
_SIGNATURES = re.compile(
    rb"\A\x89PNG.*tEXtSoftware\x00ovrcoat"
    rb"|\A\xff\xd8.*written by ovrcoat"
    rb'|\A\s*\{\s*"(ovrcoat"|format":\s*"ovrcoat |info":\s*\{\s*"description":\s*"ovrcoat )'
    rb'|\A\[\s*\{\s*"meta":\s*\{\s*"ovrcoat"'  # Label Studio's list of tasks
    rb"|\A<!-- written by ovrcoat -->"
    rb"|\APK\x03\x04.{26}ovrcoat\.npy"
    rb'|\A.{8}\{"__metadata__":\{[^{}]{0,200}"ovrcoat":',  # safetensors
    re.DOTALL,
)


class _PartFile(io.FileIO):
    """A new file that remembers the first error.

    It hides its file descriptor: encoders that write to it directly do not notice a full disk.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")
        self.error: OSError | None = None

    def fileno(self) -> int:
        """Raise, so that all data passes through `write`."""
        raise io.UnsupportedOperation("fileno")

    def write(self, data: object, /) -> int:
        """Write, and remember the error if that fails."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.error = self.error or error
            raise

    def sync(self) -> None:
        """Wait until the data is on the disk."""
        os.fsync(super().fileno())


def write_atomically(
    path: Path, write: Callable[[IO[bytes]], object], *, advice: str = ADVICE, durable: bool = False
) -> None:
    """Write a new file next to `path` by calling `write`, then move it to `path`.

    Args:
        path: the final place; an existing file is replaced.
        write: writes the contents to the binary file that it receives.
        advice: the end of an error message.
        durable: wait until file and folder are on the disk, so that the file survives a power failure.

    Raises:
        OutputError: the file cannot be written; the message gives the reason and ends with `advice`.
    """
    part = new_part_path(path)
    try:
        raw = _PartFile(part)
        try:
            with io.BufferedWriter(raw) as file:
                write(file)
                file.flush()
                if durable:
                    raw.sync()
            part.replace(path)
        except Exception as error:
            if raw.error is not None:  # some libraries report a failed write in words of their own
                raise raw.error from error
            raise
        finally:
            part.unlink(missing_ok=True)
        if durable:
            sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error, advice=advice) from error


def new_part_path(path: Path, *, is_named: bool = False) -> Path:
    """Return a new temporary path next to `path`, which `remove_leftovers` recognizes.

    Args:
        path: the final place.
        is_named: the temporary name contains the final one, so that `remove_leftovers` can select it. A final
            name near the limit of the file system then becomes too long.
    """
    name = f"{path.name}." if is_named else ""
    return path.with_name(f".{name}{uuid4().hex}.part")


def remove_leftovers(folder: Path, *, name: str | None = None) -> None:
    """Delete temporary files that a killed process left in a folder; a missing folder is no error.

    The caller must hold a lock that keeps other processes from writing these files.

    Args:
        folder: not searched for subfolders.
        name: delete only those of a file with this name, see `new_part_path`.
    """
    with suppress(OSError):  # what cannot be deleted does no harm
        for path in list(folder.iterdir()):
            if (found := _PART_NAME.fullmatch(path.name)) and name in (None, found["name"]):
                path.unlink(missing_ok=True)


def write_output(
    path: Path, write: Callable[[IO[bytes]], object], *, overwrite: bool = False, advice: str = ADVICE
) -> None:
    """Write an output file like `write_atomically`, after `check_replaceable`."""
    check_replaceable(path, overwrite=overwrite)
    write_atomically(path, write, advice=advice)


def check_replaceable(
    path: Path, *, overwrite: bool = False, first_line: str | None = None, content: bytes | None = None
) -> None:
    """Check that writing to `path` replaces no file of another program.

    Args:
        path: where an output will be written.
        overwrite: allow any file to be replaced.
        first_line: first line of the new contents, for formats that have no place for a signature (CSV). A
            file with the same first line was written by this package.
        content: all of the new contents, for files that only an equal file may replace: those that cannot
            show what wrote them, and those on which the meaning of other files depends.

    Raises:
        OutputError: there is such a file, or a folder.
    """
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder. {ADVICE}")
    if overwrite or not path.exists():
        return
    try:
        with open_input(path, ARCHIVE) as file:
            head = file.read(_HEAD_BYTES)
            is_equal = content is not None and head + file.read() == content
    except OSError as error:
        raise OutputError(
            f"cannot read the existing file {path}: {error.strerror or error}. {LOSS_ADVICE}"
        ) from error
    if content is not None and not is_equal:
        raise OutputError(
            f"{path} exists with other contents: it was edited, or written with other settings or by another "
            f"program. {LOSS_ADVICE}"
        )
    is_ours = is_equal or _SIGNATURES.match(head) is not None
    if first_line is not None:
        is_ours = is_ours or head.splitlines()[:1] == [first_line.encode()]
    if not is_ours:
        raise OutputError(f"{path} exists and was not written by ovrcoat. {LOSS_ADVICE}")


def make_folder(folder: Path) -> Path:
    """Create a folder for outputs, with its parents, if it does not exist; return its path.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"cannot write into {folder}: it is a file, not a folder. {ADVICE}") from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def cannot_write(path: Path, error: OSError, *, advice: str = ADVICE) -> OutputError:
    """Return the error for a failed attempt to write `path`."""
    return OutputError(f"cannot write {path}: {error.strerror or error}. {advice}")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; not every system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
