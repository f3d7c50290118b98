"""Uniform access to the files of a dataset, whether in folders, in the zip files of its release, or both.

Paths are relative to the dataset's own folder and use forward slashes. Nothing is unpacked next to the data;
only a zip file inside a zip file (as in COCO's panoptic release) is copied to an unnamed temporary file.
"""

import os
import shutil
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from ovrcoat.errors import DatasetError
from ovrcoat.formats.limits import MAX_IMAGE_BYTES, MAX_JSON_BYTES

DOCUMENT_SUFFIXES = (".json", ".yaml", ".yml", ".txt")
# Exceptions that zipfile raises for damaged and encrypted files.
UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)


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
        return next((name for top in self._tops if (name := top + path) in self._members), None)

    def child(self, stem: str) -> "Archive | None":
        """Return the inner zip file named `stem`.zip, in any folder; COCO packs folders this way."""
        for name in self._members:
            if PurePosixPath(name).name == f"{stem}.zip":
                return self._children.setdefault(name, Archive(self.path, home=self._home, inner=name))
        return None

    def list(self, folder: str) -> Iterator[str]:
        """Yield the paths of all files below `folder`."""
        for top in self._tops:
            prefix = f"{top}{folder}/"
            yield from (name.removeprefix(top) for name in self._members if name.startswith(prefix))

    def read(self, member: str, *, limit: int) -> bytes:
        """Return the content of `member`.

        Raises:
            DatasetError: The member is damaged, encrypted or larger than `limit` bytes.
        """
        info = self._members[member]
        if info.file_size > limit:
            raise too_large(f"{self} → {member}", size=info.file_size, limit=limit)
        try:
            opened, lock = self._open()
            with lock:
                return opened.read(info)
        except UNREADABLE as error:
            raise DatasetError(
                f"{self} → {member}: cannot be read ({error}); download the zip file again"
            ) from error

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        """Files by name, without names that lead out of the archive."""
        infos = self._open()[0].infolist()
        return {info.filename: info for info in infos if not info.is_dir() and _is_plain(info.filename)}

    @cached_property
    def _tops(self) -> tuple[str, ...]:
        """Possible prefixes of a path: none, the dataset's own folder, or the only top-level folder."""
        first = {name.split("/", 1)[0] for name in self._members if not name.startswith("__MACOSX/")}
        only = f"{first.pop()}/" if len(first) == 1 else ""
        return tuple(dict.fromkeys(("", f"{self._home}/", only, f"{only}{self._home}/")))

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
                return zipfile.ZipFile(self.path)
            return _open_copy(self._copy_of(self._inner))
        except UNREADABLE as error:
            raise DatasetError(
                f"{self}: this zip file cannot be opened ({error}); it is damaged or incomplete: download it "
                "again"
            ) from error

    def _copy_of(self, inner: str) -> IO[bytes]:
        copy = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115 - stays open as long as the zip file
        with zipfile.ZipFile(self.path) as outer, outer.open(inner) as packed:
            shutil.copyfileobj(packed, copy, length=1 << 20)
        return copy


@dataclass(frozen=True, slots=True)
class FileLocation:
    """Location of a file: a path on disk, or a member of an archive."""

    container: Path | Archive
    name: str

    def __str__(self) -> str:
        if isinstance(self.container, Path):
            return str(self.container / self.name)
        return f"{self.container} → {self.name}"


@dataclass(frozen=True, slots=True)
class FileTree:
    """The files of one dataset.

    Folders and archives are searched in this order: `root`/`home` and its zip files, then `root` and its zip
    files. If `root` is a zip file: the zip file, then the folder `home` next to it, where `prepare` writes.

    Attributes:
        root: The dataset's own folder, the folder that contains it, or a zip file.
        home: Name of the dataset's own folder.
        zip_folders: Folders that are searched for zip files; "" is the dataset's own folder.
        containers: Folders and archives in search order.

    Raises:
        DatasetError: `root` does not exist, or is neither a folder nor a zip file.
    """

    root: Path
    home: str
    zip_folders: tuple[str, ...] = ("",)
    containers: tuple[Path | Archive, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "containers", tuple(self._find_containers()))

    def _find_containers(self) -> Iterator[Path | Archive]:
        if self.root.is_file():
            if not zipfile.is_zipfile(self.root):
                raise DatasetError(
                    f"{self.root}: expected a folder or a zip file; unpack other archives first, and "
                    "download a damaged zip file again"
                )
            yield Archive(self.root, home=self.home)
            folder = folder_of_zip(self.root, home=self.home)
            if folder.is_dir():
                yield folder
            return
        if not self.root.is_dir():
            raise DatasetError(f"{self.root}: the folder or zip file does not exist; check the path")
        for folder in (self.root / self.home, self.root):
            if folder.is_dir():
                yield folder
                for subfolder in self.zip_folders:
                    yield from (
                        Archive(path, home=self.home) for path in sorted((folder / subfolder).glob("*.zip"))
                    )

    def locate(self, path: str) -> FileLocation | None:
        """Find a file; None if it does not exist."""
        for container in self.containers:
            if isinstance(container, Path):
                if (container / path).is_file():
                    return FileLocation(container, path)
            elif (member := container.find(path)) is not None:
                return FileLocation(container, member)
            elif location := _locate_inside(container, path):
                return location
        return None

    def exists(self, path: str) -> bool:
        """Return whether the file exists."""
        return self.locate(path) is not None

    def list(self, folder: str, *, suffixes: Sequence[str]) -> tuple[str, ...]:
        """List all files below `folder`, at any depth, whose names end in one of `suffixes` (lower case).

        Returns:
            Sorted paths from the first folder or archive that has any. Parts of a dataset in several places
            are not merged.
        """
        for container in self.containers:
            found = _files_below(container, folder) if isinstance(container, Path) else container.list(folder)
            wanted = {
                path for path in found if path.lower().endswith(tuple(suffixes)) and not _is_hidden(path)
            }
            if wanted:
                return tuple(sorted(wanted))
        return ()

    def read(self, path: str, *, advice: str = "") -> bytes:
        """Return the content of a file.

        Raises:
            DatasetError: The file is missing (the message ends with `advice`), unreadable or too large.
        """
        location = self.locate(path)
        if location is None:
            raise self.missing(path, advice=advice)
        limit = MAX_JSON_BYTES if path.lower().endswith(DOCUMENT_SUFFIXES) else MAX_IMAGE_BYTES
        if isinstance(location.container, Archive):
            return location.container.read(location.name, limit=limit)
        return _read_file(location.container / location.name, limit=limit)

    def describe(self, path: str) -> str:
        """Return the full location of a file for messages."""
        return str(self.locate(path) or self.root / path)

    def missing(self, *paths: str, advice: str) -> DatasetError:
        """Return the error that none of these alternative files or folders exists."""
        variants = " or ".join(paths)
        searched = ", ".join(str(container) for container in self.containers)
        return DatasetError(f"{variants} not found; looked in {searched}. {advice}".strip())

    def output_folder(self, source: str) -> Path:
        """Return the dataset's own folder on disk, where files made from `source` are written.

        Raises:
            DatasetError: `source` does not exist.
        """
        location = self.locate(source)
        if location is None:
            raise self.missing(source, advice="")
        if isinstance(location.container, Path):
            return location.container
        return folder_of_zip(location.container.path, home=self.home)


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


def folder_of_zip(path: Path, *, home: str) -> Path:
    """Return the dataset's own folder: the one that contains the zip file, or the one next to it."""
    return path.parent if path.parent.name == home else path.parent / home


def too_large(location: str, *, size: int, limit: int) -> DatasetError:
    """Return the error for a file above the size limit."""
    return DatasetError(
        f"{location}: {size:,} bytes unpacked, expected at most {limit:,}; this is not a file of a dataset"
    )


def _read_file(path: Path, *, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise too_large(str(path), size=size, limit=limit)
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror or error}); check its permissions"
        ) from error


def _locate_inside(archive: Archive, path: str) -> FileLocation | None:
    """Find a file in an inner zip file: panoptic_val2017/x.png in the member panoptic_val2017.zip."""
    folder, separator, _ = path.partition("/")
    child = archive.child(folder) if separator else None
    member = child.find(path) if child else None
    return FileLocation(child, member) if child and member else None


def _files_below(root: Path, folder: str) -> Iterator[str]:
    for path in (root / folder).rglob("*"):
        if path.is_file():
            yield path.relative_to(root).as_posix()


def _is_hidden(path: str) -> bool:
    """Return whether a file is hidden, as those that file managers leave behind (.DS_Store, ._photo.jpg)."""
    return PurePosixPath(path).name.startswith(".")


def _is_plain(name: str) -> bool:
    return not name.startswith("/") and ".." not in PurePosixPath(name).parts
