"""Files of a batch run: local paths, and URLs of any file system that fsspec knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ovrcoat.errors import DatasetError, ImageError
from ovrcoat.system.input_files import ARCHIVE, open_input
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.system.paths import printable

MAX_IMAGE_BYTES = 1 << 30  # no image file is larger; a tar header or a server may state any size


def is_remote(path: str) -> bool:
    """Return whether a path is a URL, such as s3://bucket/image.jpg or memory://image.jpg."""
    scheme, separator, _ = path.partition("://")
    return bool(separator) and len(scheme) > 1 and scheme.replace("+", "").replace("-", "").isalnum()


def read_range(path: str, offset: int = 0, nbytes: int | None = None) -> bytes:
    """Return bytes of a file; the whole file if `nbytes` is None.

    Raises:
        ImageError: the file cannot be read, or is too large for an image.
    """
    limit = MAX_IMAGE_BYTES if nbytes is None else nbytes
    if limit > MAX_IMAGE_BYTES:
        raise ImageError(f"{printable(path)}: {nbytes:,} bytes, expected an image of at most {limit:,} bytes")
    try:
        with open_binary(path) as file:
            file.seek(offset)
            content = file.read(limit + (nbytes is None)) or b""
    except Exception as error:  # each file system has errors of its own
        raise ImageError(f"{printable(path)}: cannot be read ({describe(error)})") from error
    if nbytes is None and len(content) > MAX_IMAGE_BYTES:
        raise ImageError(f"{printable(path)}: more than {MAX_IMAGE_BYTES:,} bytes, which is no image")
    if nbytes is not None and len(content) < nbytes:
        raise ImageError(f"{printable(path)}: the file ends within the image; it is incomplete")
    return content


@contextmanager
def open_binary(path: str) -> Iterator[Any]:
    """Open a local file or a URL for reading; fsspec's files have the methods of binary files.

    Raises:
        MissingExtraError: a URL needs fsspec or the package of its file system.
        OSError: it cannot be opened; other file systems may raise their own errors.
    """
    if is_remote(path):
        system, name = remote_file_system(path)
        with system.open(name, "rb") as file:
            yield file
    else:
        with open_input(path, ARCHIVE) as file:  # readers of images, lists and tar files limit sizes
            yield file


def remote_file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the name of the file in it.

    Raises:
        MissingExtraError: fsspec is not installed.
        DatasetError: there is no such file system, or its package is not installed.
    """
    fsspec = import_optional("fsspec", extra="batch")
    try:
        system, name = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError, OSError) as error:
        raise DatasetError(f"{printable(url)}: this URL cannot be opened ({describe(error)})") from error
    return system, name


def describe(error: Exception) -> str:
    """Return what an error of a file system says, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())[:300]
