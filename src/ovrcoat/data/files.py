"""Where the files of a data set lie: in folders, in the zip files of its release, or in both; all read alike.

Paths are relative to the data set's own folder, with forward slashes. Nothing is ever unpacked beside the
data; only a zip inside a zip (COCO's panoptic release has them) is copied into a nameless temporary file.
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

# Bytes, unpacked: a hostile or broken file must not fill the memory.
DOCUMENT_LIMIT = 1 << 30  # COCO's largest JSON takes about 450 MB
PICTURE_LIMIT = 200 << 20  # a 20-megapixel image takes some 40 MB as PNG
DOCUMENT_SUFFIXES = (".json", ".yaml", ".yml", ".txt")
# What zipfile raises for broken and encrypted files.
UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)


class Archive:
    """A zip file, read by many threads; a child process opens it anew, for a shared file position would jump.

    `inner` is a zip inside it. Opened when first asked for something.
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
        """The member that `path` means, if it is here."""
        return next((name for top in self._tops if (name := top + path) in self._members), None)

    def child(self, stem: str) -> "Archive | None":
        """The zip inside this one that is called `stem`.zip, wherever it lies: COCO packs a folder so."""
        for name in self._members:
            if PurePosixPath(name).name == f"{stem}.zip":
                return self._children.setdefault(name, Archive(self.path, home=self._home, inner=name))
        return None

    def list(self, folder: str) -> Iterator[str]:
        """Paths of all files below `folder`."""
        for top in self._tops:
            below = f"{top}{folder}/"
            yield from (name.removeprefix(top) for name in self._members if name.startswith(below))

    def read(self, member: str, *, limit: int) -> bytes:
        """The content of `member`.

        Raises:
            DatasetError: it is damaged, encrypted or larger than `limit` bytes.
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
        """Files by name; names that lead outside are no names."""
        infos = self._open()[0].infolist()
        return {info.filename: info for info in infos if not info.is_dir() and _is_plain(info.filename)}

    @cached_property
    def _tops(self) -> tuple[str, ...]:
        """What may stand before a path: nothing, the data set's own folder, or the only folder of all."""
        first = {name.split("/", 1)[0] for name in self._members if not name.startswith("__MACOSX/")}
        only = f"{first.pop()}/" if len(first) == 1 else ""
        return tuple(dict.fromkeys(("", f"{self._home}/", only, f"{only}{self._home}/")))

    def _open(self) -> tuple[zipfile.ZipFile, threading.Lock]:
        if self._process != os.getpid():  # forked: the lock may be held by a thread that is not here
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
                f"{self}: this zip file cannot be opened ({error}); it is damaged or not complete: "
                "download it again"
            ) from error

    def _copy_of(self, inner: str) -> IO[bytes]:
        copy = cast("IO[bytes]", tempfile.TemporaryFile())  # noqa: SIM115 - lives as long as the zip
        with zipfile.ZipFile(self.path) as outer, outer.open(inner) as packed:
            shutil.copyfileobj(packed, copy, length=1 << 20)
        return copy


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file was found: a path on disk, or a member of an archive."""

    container: Path | Archive
    name: str

    def __str__(self) -> str:
        if isinstance(self.container, Path):
            return str(self.container / self.name)
        return f"{self.container} → {self.name}"


@dataclass(frozen=True, slots=True)
class FileTree:
    """The files of one data set below `root`: its own folder, the folder that holds that, or a zip file.

    Looked through in this order: `root`/`home` and its zip files, `root` and its zip files. For a `root` that
    is a zip file: the zip, then the folder `home` beside it, where `prepare` writes.

    Attributes:
        root: as the user gave it.
        home: what the data set's own folder is called.
        zip_folders: folders in which zip files are looked for ("" is the data set's own).

    Raises:
        DatasetError: `root` does not exist or is no folder and no zip file.
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
                    f"{self.root}: a data set is a folder or a zip file, this is neither; "
                    "unpack other archives first, and download a broken zip file again"
                )
            yield Archive(self.root, home=self.home)
            beside = beside_zip(self.root, home=self.home)
            if beside.is_dir():
                yield beside
            return
        if not self.root.is_dir():
            raise DatasetError(f"{self.root}: there is no such folder or zip file; check the path")
        for folder in (self.root / self.home, self.root):
            if folder.is_dir():
                yield folder
                for below in self.zip_folders:
                    yield from (
                        Archive(path, home=self.home) for path in sorted((folder / below).glob("*.zip"))
                    )

    def locate(self, path: str) -> Place | None:
        """Where `path` is, if anywhere."""
        for container in self.containers:
            if isinstance(container, Path):
                if (container / path).is_file():
                    return Place(container, path)
            elif (member := container.find(path)) is not None:
                return Place(container, member)
            elif place := _locate_inside(container, path):
                return place
        return None

    def exists(self, path: str) -> bool:
        """Whether there is a file `path`."""
        return self.locate(path) is not None

    def list(self, folder: str, *, suffixes: Sequence[str]) -> tuple[str, ...]:
        """Sorted paths of all files below `folder`, at any depth, that end in one of `suffixes` (lower case).

        From the first place that has any: two halves of a data set are not one.
        """
        for container in self.containers:
            found = _below(container, folder) if isinstance(container, Path) else container.list(folder)
            wanted = {
                path for path in found if path.lower().endswith(tuple(suffixes)) and not _is_hidden(path)
            }
            if wanted:
                return tuple(sorted(wanted))
        return ()

    def read(self, path: str, *, advice: str = "") -> bytes:
        """The content of a file.

        Raises:
            DatasetError: it is missing (the message ends with `advice`), cannot be read or is too large.
        """
        place = self.locate(path)
        if place is None:
            raise self.missing(path, advice=advice)
        limit = DOCUMENT_LIMIT if path.lower().endswith(DOCUMENT_SUFFIXES) else PICTURE_LIMIT
        if isinstance(place.container, Archive):
            return place.container.read(place.name, limit=limit)
        return _read_file(place.container / place.name, limit=limit)

    def describe(self, path: str) -> str:
        """`path` with its full place, for messages."""
        return str(self.locate(path) or self.root / path)

    def missing(self, *paths: str, advice: str) -> DatasetError:
        """The error that none of these variants of a file or folder is there."""
        variants = " or ".join(paths)
        places = ", ".join(str(container) for container in self.containers)
        return DatasetError(f"{variants} not found; looked in {places}. {advice}".strip())

    def output_folder(self, source: str) -> Path:
        """The data set's own folder on disk, for what is made from `source`: there, or beside its zip.

        Raises:
            DatasetError: there is no `source`.
        """
        place = self.locate(source)
        if place is None:
            raise self.missing(source, advice="")
        if isinstance(place.container, Path):
            return place.container
        return beside_zip(place.container.path, home=self.home)


def _unpickle_archive(path: Path, home: str, inner: str | None) -> Archive:
    return Archive(path, home=home, inner=inner)


def _open_copy(copy: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip that closes `copy` when it goes; by itself it closes only what it opened."""
    try:
        opened = zipfile.ZipFile(copy)
    except zipfile.BadZipFile:
        copy.close()
        raise
    weakref.finalize(opened, copy.close)
    return opened


def beside_zip(path: Path, *, home: str) -> Path:
    """The data set's own folder next to one of its zip files, which may lie in that folder itself."""
    return path.parent if path.parent.name == home else path.parent / home


def too_large(place: str, *, size: int, limit: int) -> DatasetError:
    """The error for files that no data set has."""
    return DatasetError(
        f"{place}: {size:,} bytes unpacked, expected at most {limit:,}; this is no file of a data set"
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


def _locate_inside(archive: Archive, path: str) -> Place | None:
    """A file in a zip inside a zip: panoptic_val2017/x.png in a member panoptic_val2017.zip."""
    folder, separator, _ = path.partition("/")
    child = archive.child(folder) if separator else None
    member = child.find(path) if child else None
    return Place(child, member) if child and member else None


def _below(root: Path, folder: str) -> Iterator[str]:
    for path in (root / folder).rglob("*"):
        if path.is_file():
            yield path.relative_to(root).as_posix()


def _is_hidden(path: str) -> bool:
    """Files that file managers leave behind (.DS_Store, ._photo.jpg)."""
    return PurePosixPath(path).name.startswith(".")


def _is_plain(name: str) -> bool:
    return not name.startswith("/") and ".." not in PurePosixPath(name).parts
