"""Paths as users give them: no function here raises, whatever the path is.

`pathlib` raises for a name such as `~photo.jpg`, for a symbolic link to itself, for a folder without
permission and for a name that is too long. Such a path is a path without a file: opening it gives the error.
"""

import os
from hashlib import blake2b
from os import PathLike
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from ovrcoat.system.visible_text import visible

MAX_NAME_BYTES = 255  # of most file systems
_SHOWN = 160  # characters of a path in a message
_DIGEST_LETTERS = 8


def expand_user(path: str | PathLike[str]) -> Path:
    """Replace `~` by the home folder; a path that exists as written, or has an unknown user, is unchanged."""
    plain = Path(path)
    if os.path.lexists(plain):
        return plain
    try:
        return plain.expanduser()
    except (RuntimeError, OSError, ValueError):  # no such user, no home folder
        return plain


def is_folder(path: str | PathLike[str]) -> bool:
    """Return whether a folder exists; False where it cannot be determined."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for a folder without permission


def is_file(path: str | PathLike[str]) -> bool:
    """Return whether a regular file exists; False where it cannot be determined."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for a folder without permission


def exists(path: str | PathLike[str]) -> bool:
    """Return whether a file or folder exists; False where it cannot be determined."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises for a folder without permission


def access_problem(path: str | PathLike[str]) -> str | None:
    """Return why a path cannot be looked at, such as "Permission denied"; None if it exists or is missing."""
    try:
        os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def resolve(path: Path) -> Path:
    """Return the absolute path without symbolic links, as far as they can be resolved."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name that is too long
        return path.absolute()


def leads_outside(name: str) -> bool:
    """Return whether a relative path from a document leads out of the folder that it is relative to."""
    if not _is_possible(name):
        return True
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(name).drive)


def is_plain_name(name: str) -> bool:
    """Return whether a name from a document can be a file or folder directly inside another folder."""
    if name in {"", ".", ".."} or not _is_possible(name) or PurePath(name).name != name:
        return False
    return len(_name_bytes(name)) <= MAX_NAME_BYTES


def printable(path: object) -> str:
    """Return a path for a message: long paths are cut, and characters are escaped as `visible` does."""
    text = str(path)
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN - 40]}…{text[-39:]}"
    return visible(text)


def shorten_name(stem: str, *, reserved: int) -> str:
    """Return a file name that leaves `reserved` bytes for an ending; a digest keeps shortened names unique.

    Args:
        stem: name without its ending.
        reserved: bytes of the longest ending.
    """
    encoded = _name_bytes(stem)
    limit = MAX_NAME_BYTES - reserved
    if len(encoded) <= limit:
        return stem
    digest = blake2b(encoded, digest_size=_DIGEST_LETTERS // 2).hexdigest()
    kept = stem
    while len(_name_bytes(kept)) > limit - _DIGEST_LETTERS - 1:
        kept = kept[:-1]
    return f"{kept}-{digest}"


def _is_possible(name: str) -> bool:
    """Return whether a file can have this name: looking for another one raises ValueError."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _name_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")
