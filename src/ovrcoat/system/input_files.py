"""The one place where files are opened that a user, a document or a folder names.

Only regular files are opened: opening a pipe waits for its writer, and reading a device never ends. Sizes are
limited per kind of file. Each opening costs one `stat`.
"""

import errno
import os
import stat
from dataclasses import dataclass
from io import BufferedReader
from os import PathLike

from ovrcoat.errors import ConfigError

_MIB = 1 << 20
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)  # a pipe that appears after the check does not block
_BINARY = getattr(os, "O_BINARY", 0)
_KINDS = (
    (stat.S_ISDIR, "this is a folder"),
    (stat.S_ISFIFO, "this is a pipe, not a file; save its data to a file first"),
    (stat.S_ISSOCK, "this is a socket, not a file"),
    (stat.S_ISCHR, "this is a device, not a file"),
    (stat.S_ISBLK, "this is a device, not a file"),
)


class InputFileError(OSError):
    """A path cannot be opened as a file: its `strerror` says why. Missing files are other `OSError`s."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EINVAL, reason)

    def __str__(self) -> str:
        return self.strerror or ""

    def __reduce__(self) -> tuple[type["InputFileError"], tuple[str]]:
        return InputFileError, (self.strerror or "",)


@dataclass(frozen=True, slots=True)
class SizeLimit:
    """The largest size of one kind of file.

    Attributes:
        default: in units.
        variable: name of the environment variable with another value, in units.
        unit: in bytes.
    """

    default: int
    variable: str
    unit: int = _MIB

    @property
    def bytes(self) -> int:
        """The limit in bytes.

        Raises:
            ConfigError: the environment variable holds no positive number.
        """
        text = os.environ.get(self.variable)
        if not text:
            return self.default * self.unit
        if not (text.isdecimal() and text.isascii() and int(text[:16]) > 0 and len(text) < 12):
            raise ConfigError(f"{self.variable} is {text[:40]!r}, expected a whole number of MiB, 1 or more")
        return int(text) * self.unit

    def problem(self, size: int) -> str | None:
        """Return why a size is too large, and how to raise the limit; None if it is not."""
        if size <= (limit := self.bytes):
            return None
        return (
            f"it has {size:,} bytes, expected at most {limit:,}; if it is the right file, raise the limit "
            f"with the environment variable {self.variable} (in MiB)"
        )


IMAGE = SizeLimit(1024, "OVRCOAT_MAX_IMAGE_MIB")
JSON = SizeLimit(1024, "OVRCOAT_MAX_JSON_MIB")  # the largest JSON file of COCO takes about 450 MB
LABELS = SizeLimit(200, "OVRCOAT_MAX_LABELS_MIB")  # a label map or an image of a dataset
REPORT = SizeLimit(512, "OVRCOAT_MAX_REPORT_MIB")  # COCO's 118,287 training images with two γ: 200 MB
RESULTS = SizeLimit(2048, "OVRCOAT_MAX_RESULTS_MIB")  # COCO's results with 100 masks per image: 200 MB
SETTINGS = SizeLimit(1, "OVRCOAT_MAX_SETTINGS_MIB")
VOCABULARY = SizeLimit(1, "OVRCOAT_MAX_VOCABULARY_MIB")
VOCABULARY_JSON = SizeLimit(32, "OVRCOAT_MAX_VOCABULARY_JSON_MIB")
WEIGHTS = SizeLimit(64 * 1024, "OVRCOAT_MAX_WEIGHTS_MIB")
ARCHIVE = SizeLimit(4 * 1024 * 1024, "OVRCOAT_MAX_ARCHIVE_MIB")  # its members have limits of their own


def check_input(path: str | PathLike[str], limit: SizeLimit) -> int:
    """Check that a path is a regular file of allowed size, without opening it; returns its size in bytes.

    For libraries that open a path themselves.

    Raises:
        InputFileError: it is something else, is too large, or no file can have this name.
        OSError: it does not exist, or cannot be looked at.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 - Path.stat is slower
    except ValueError as error:  # a null character, or a character that the file system cannot represent
        raise InputFileError("no file can have this name") from error
    if not stat.S_ISREG(facts.st_mode):
        reasons = (reason for is_kind, reason in _KINDS if is_kind(facts.st_mode))
        raise InputFileError(next(reasons, "this is not a regular file"))
    if (problem := limit.problem(facts.st_size)) is not None:
        raise InputFileError(problem)
    return facts.st_size


def open_input(path: str | PathLike[str], limit: SizeLimit) -> BufferedReader:
    """Open a file for reading; errors as for `check_input`."""
    check_input(path, limit)
    return open(path, "rb", opener=_open_without_waiting)


def read_input(path: str | PathLike[str], limit: SizeLimit) -> bytes:
    """Return the content of a file; errors as for `check_input`."""
    size = check_input(path, limit)
    with open(path, "rb", opener=_open_without_waiting) as file:
        content = file.read(size + 1)
        if content is None:  # of /proc/kmsg, which waits for messages
            raise InputFileError("it has no content yet")
        if len(content) > size:  # it grows, or its size is not known, as in /proc
            content += file.read(max(limit.bytes - size, 0))
            if (problem := limit.problem(len(content))) is not None:
                raise InputFileError(problem)
        return content


def read_input_text(path: str | PathLike[str], limit: SizeLimit) -> str:
    """Return the content of a UTF-8 file; a byte order mark is removed.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        OSError: as for `check_input`.
    """
    return read_input(path, limit).decode("utf-8-sig")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | _WITHOUT_WAITING | _BINARY)
