"""Uniform access to the files of a dataset, whether in folders, in the zip files of its release, or both.

Paths are relative to the dataset's own folder and use forward slashes. Nothing is unpacked next to the data;
only a zip file inside a zip file (as in COCO's panoptic release) is copied to an unnamed temporary file.
"""

import os
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ovrcoat.data.archive import Archive, normalize_path
from ovrcoat.errors import DatasetError
from ovrcoat.system.input_files import ARCHIVE, JSON, LABELS, SizeLimit, open_input, read_input
from ovrcoat.system.paths import access_problem, is_file, is_folder, leads_outside, printable

DOCUMENT_SUFFIXES = (".json", ".yaml", ".yml", ".txt")
CHUNK_BYTES = 1 << 20


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
        if is_file(self.root):
            if not zipfile.is_zipfile(self.root):
                advice = (
                    "give the folder that contains it"
                    if self.root.suffix.lower() in DOCUMENT_SUFFIXES
                    else "unpack other archives first, and download a damaged zip file again"
                )
                raise DatasetError(f"{self.root}: expected a folder or a zip file; {advice}")
            yield Archive(self.root, home=self.home)
            folder = folder_of_zip(self.root, home=self.home)
            if is_folder(folder):
                yield folder
            return
        if not is_folder(self.root):
            problem = access_problem(self.root)
            reason = f"cannot be read ({problem})" if problem else "does not exist"
            raise DatasetError(f"{self.root}: the folder or zip file {reason}; check the path")
        for folder in (self.root / self.home, self.root):
            if is_folder(folder):
                yield folder
                for subfolder in self.zip_folders:
                    yield from (
                        Archive(path, home=self.home) for path in sorted((folder / subfolder).glob("*.zip"))
                    )

    def locate(self, path: str) -> FileLocation | None:
        """Find a file; None if it does not exist, or if the path leads out of the dataset.

        Paths contain names from documents, for example image ids of Cityscapes.
        """
        if leads_outside(path):
            return None
        for container in self.containers:
            if isinstance(container, Path):
                if (name := _find_on_disk(container, path)) is not None:
                    return FileLocation(container, name)
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

        The folder "" is the dataset's own.

        Returns:
            Sorted paths from the first folder or archive that has any. Parts of a dataset in several places
            are not merged.
        """
        for container in self.containers:
            found = _files_below(container, folder) if isinstance(container, Path) else container.list(folder)
            wanted = {
                normalize_path(path)
                for path in found
                if path.lower().endswith(tuple(suffixes)) and not _is_hidden(path)
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
        limit = JSON if path.lower().endswith(DOCUMENT_SUFFIXES) else LABELS
        if isinstance(location.container, Archive):
            return location.container.read(location.name, limit=limit.bytes)
        return _read_file(location.container / location.name, limit=limit)

    def file_size(self, path: str) -> int | None:
        """Return the number of bytes of a file; None if it is missing or unreadable."""
        location = self.locate(path)
        if location is None:
            return None
        if isinstance(location.container, Archive):
            return location.container.size(location.name)
        try:
            return (location.container / location.name).stat().st_size
        except OSError:
            return None

    def checksum(self, path: str) -> tuple[int, int] | None:
        """Return the number of bytes and the CRC-32 of a file; None if it is missing or unreadable.

        A zip file states both, so that nothing is unpacked.
        """
        location = self.locate(path)
        if location is None:
            return None
        if isinstance(location.container, Archive):
            archive = location.container
            return archive.size(location.name), archive.checksum(location.name)
        return _checksum(location.container / location.name)

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


def _find_on_disk(folder: Path, path: str) -> str | None:
    """Return the name of a file as it is stored: as given, or in another Unicode form."""
    forms = (path,) if path.isascii() else (path, *(unicodedata.normalize(f, path) for f in ("NFC", "NFD")))
    # joined as text: for 100,000 files `Path` takes longer than the file system
    return next((form for form in forms if is_file(os.path.join(folder, form))), None)  # noqa: PTH118


def _checksum(path: Path) -> tuple[int, int] | None:
    size = crc = 0
    try:
        with open_input(path, ARCHIVE) as file:
            while chunk := file.read(CHUNK_BYTES):
                size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    except OSError:
        return None
    return size, crc


def folder_of_zip(path: Path, *, home: str) -> Path:
    """Return the dataset's own folder: the one that contains the zip file, or the one next to it."""
    return path.parent if path.parent.name == home else path.parent / home


def _read_file(path: Path, *, limit: SizeLimit) -> bytes:
    try:
        return read_input(path, limit)
    except OSError as error:
        raise DatasetError(
            f"{printable(path)}: cannot be read ({error.strerror or error}); check its permissions"
        ) from error


def _locate_inside(archive: Archive, path: str) -> FileLocation | None:
    """Find a file in an inner zip file: panoptic_val2017/x.png in the member panoptic_val2017.zip."""
    folder, separator, _ = path.partition("/")
    child = archive.child(folder) if separator else None
    member = child.find(path) if child else None
    return FileLocation(child, member) if child and member else None


def _files_below(root: Path, folder: str) -> Iterator[str]:
    for place, _, names in os.walk(root / folder):  # unlike rglob, it skips folders that cannot be read
        below = Path(place).relative_to(root)
        yield from ((below / name).as_posix() for name in names if is_file(os.path.join(place, name)))  # noqa: PTH118


def _is_hidden(path: str) -> bool:
    """Return whether a file is hidden, as those that file managers leave behind (.DS_Store, ._photo.jpg)."""
    return PurePosixPath(path).name.startswith(".")
