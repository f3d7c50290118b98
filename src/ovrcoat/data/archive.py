"""Read the members of zip files, whichever program has written them."""

import os
import shutil
import tempfile
import threading
import unicodedata
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from ovrcoat.errors import DatasetError
from ovrcoat.system.input_files import ARCHIVE, check_input

# Exceptions that zipfile raises for damaged and encrypted files.
UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)
MAX_RATIO = 100  # of unpacked and packed size; JSON has 5 to 20, and deflate allows 1,000
FREE_BYTES = 64 << 20  # small members may have any ratio
UTF8_FLAG = 0x800  # in the flags of a member: its name is UTF-8
ENCRYPTED_FLAG = 0x1
SUPPORTED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# Compression methods that Python cannot read, by their number in the zip format.
UNSUPPORTED_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd"}


class Archive:
    """A zip file that many threads can read. It is opened on first use.

    A child process opens the file again, because processes must not share a file position.

    Args:
        path: The zip file.
        home: Name of the dataset's own folder.
        inner: Member that is itself a zip file; the archive then represents that one.
    """

    def __init__(self, path: Path, *, home: str, inner: str | None = None) -> None:
        self.path = path
        self._home = home
        self._inner = inner
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._zip: zipfile.ZipFile | None = None
        self._children: dict[str, Archive] = {}

    def __str__(self) -> str:
        return str(self.path) if self._inner is None else f"{self.path} → {self._inner}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_archive, (self.path, self._home, self._inner)

    def find(self, path: str) -> str | None:
        """Return the name of the member at `path`, or None."""
        path = normalize_path(path)
        return next((name for top in self._tops if (name := top + path) in self._members), None)

    def child(self, stem: str) -> "Archive | None":
        """Return the inner zip file named `stem`.zip, in any folder; COCO packs folders this way."""
        for name in self._members:
            if PurePosixPath(name).name == f"{stem}.zip":
                return self._children.setdefault(name, Archive(self.path, home=self._home, inner=name))
        return None

    def list(self, folder: str) -> Iterator[str]:
        """Yield the paths of all files below `folder`; "" is the dataset's own folder."""
        if not folder:
            top = next(top for top in reversed(self._tops) if self._is_top(top))
            yield from (name.removeprefix(top) for name in self._members if name.startswith(top))
            return
        for top in self._tops:
            prefix = f"{top}{folder}/"
            yield from (name.removeprefix(top) for name in self._members if name.startswith(prefix))

    def read(self, member: str, *, limit: int) -> bytes:
        """Return the content of `member`.

        Raises:
            DatasetError: The member is damaged, encrypted or larger than `limit` bytes.
        """
        info = self._members[member]
        if reason := _unsupported(info):
            raise DatasetError(f"{self} → {member}: {reason}")
        if info.file_size > limit:
            raise too_large(f"{self} → {member}", size=info.file_size, limit=limit)
        try:
            opened, lock = self._open()
            with lock, opened.open(info) as file:
                return file.read(info.file_size)  # `opened.read` unpacks everything, whatever the size says
        except UNREADABLE as error:
            raise DatasetError(
                f"{self} → {member}: cannot be read ({error}); download the zip file again"
            ) from error

    def size(self, member: str) -> int:
        """Return the number of bytes of a member."""
        return self._members[member].file_size

    def checksum(self, member: str) -> int:
        """Return the CRC-32 of a member's bytes, which the zip file states."""
        return self._members[member].CRC

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        """Files by name, without names that lead out of the archive."""
        members = {member_name(info): info for info in self._open()[0].infolist()}
        return {name: info for name, info in members.items() if not name.endswith("/") and _is_plain(name)}

    @cached_property
    def _tops(self) -> tuple[str, ...]:
        """Possible prefixes of a path: none, the dataset's own folder, or the only top-level folder."""
        first = {name.split("/", 1)[0] for name in self._members if not name.startswith("__MACOSX/")}
        only = f"{first.pop()}/" if len(first) == 1 else ""
        return tuple(dict.fromkeys(("", f"{self._home}/", only, f"{only}{self._home}/")))

    def _is_top(self, top: str) -> bool:
        """Return whether all files are below a prefix."""
        return all(name.startswith((top, "__MACOSX/")) for name in self._members)

    def _open(self) -> tuple[zipfile.ZipFile, threading.Lock]:
        if (
            self._process != os.getpid()
        ):  # forked: the lock may be held by a thread that does not exist in this process
            self._lock, self._zip, self._process = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._zip is None:
                self._zip = self._opened()
            return self._zip, self._lock

    def _opened(self) -> zipfile.ZipFile:
        try:
            if self._inner is None:
                check_input(self.path, ARCHIVE)
                return zipfile.ZipFile(self.path)
            return _open_copy(self._copy_of(self._inner))
        except UNREADABLE as error:
            raise DatasetError(
                f"{self}: this zip file cannot be opened ({error}); it is damaged or incomplete: download it "
                "again"
            ) from error

    def _copy_of(self, inner: str) -> IO[bytes]:
        copy = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115 - stays open as long as the zip file
        with zipfile.ZipFile(self.path) as outer:
            member = next(info for info in outer.infolist() if member_name(info) == inner)
            if reason := _unsupported(member):
                raise DatasetError(f"{self}: {reason}")
            with outer.open(member) as packed:
                shutil.copyfileobj(packed, copy, length=1 << 20)
        return copy


def _unpickle_archive(path: Path, home: str, inner: str | None) -> Archive:
    return Archive(path, home=home, inner=inner)


def _open_copy(copy: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip file that closes `copy` when garbage-collected; ZipFile closes only files it opened."""
    try:
        opened = zipfile.ZipFile(copy)
    except zipfile.BadZipFile:
        copy.close()
        raise
    weakref.finalize(opened, copy.close)
    return opened


def too_large(location: str, *, size: int, limit: int) -> DatasetError:
    """Return the error for a file above the size limit."""
    return DatasetError(
        f"{location}: {size:,} bytes unpacked, expected at most {limit:,}; this is not a file of a dataset"
    )


def normalize_path(path: str) -> str:
    """Return a path in the Unicode form NFC: macOS stores "é" as two characters (NFD), others as one."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def member_name(info: zipfile.ZipInfo) -> str:
    """Return a member's name with forward slashes, in the Unicode form NFC.

    Some programs for Windows write backslashes. macOS writes UTF-8 without the flag that says so.
    """
    name = info.filename
    if not info.flag_bits & UTF8_FLAG and not name.isascii():
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename  # really in the old encoding
    return normalize_path(name.replace("\\", "/"))


def _unsupported(info: zipfile.ZipInfo) -> str | None:
    """Return why a member is not read, and what to do; None if it is."""
    if info.file_size > FREE_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        return (
            f"not read: it unpacks to {info.file_size:,} bytes, more than {MAX_RATIO} times its packed "
            "size, as no file of a dataset does"
        )
    if info.flag_bits & ENCRYPTED_FLAG:
        return "cannot be read: it is encrypted; unpack the zip file with its password and give the folder"
    if info.compress_type not in SUPPORTED_METHODS:
        method = UNSUPPORTED_METHODS.get(info.compress_type, f"method {info.compress_type}")
        return (
            f"cannot be read: it is compressed with {method}, which Python does not support (Windows uses "
            "Deflate64 for large files); unpack it and give the folder, or pack it again with Deflate"
        )
    return None


def _is_plain(name: str) -> bool:
    return not name.startswith("/") and ".." not in PurePosixPath(name).parts
