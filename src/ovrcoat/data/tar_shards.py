"""Read images and labels from WebDataset tar shards, at any position and without unpacking them."""

import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ovrcoat.data.archive import normalize_path, too_large
from ovrcoat.data.tar_members import UNREADABLE, tar_members
from ovrcoat.errors import DatasetError
from ovrcoat.system.input_files import ARCHIVE, open_input

MAX_MEMBERS = 20_000_000
LABELS_ENDING = ".panoptic.png"


class _Member(NamedTuple):
    """Position of a file: the number of its shard, the first byte, and the number of bytes."""

    shard: int
    offset: int
    nbytes: int


class TarShards:
    """Uncompressed tar files that many threads and processes can read.

    A sample of WebDataset is all members with one key: the name up to the first dot of its last part. Its
    image KEY.jpg is the file images/KEY.jpg of the dataset, and its labels KEY.panoptic.png are the file
    panoptic/KEY.png. Other members are not used. The members are listed once, at the first use.

    Args:
        paths: The tar files of one folder.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __str__(self) -> str:
        return str(self.folder / "*.tar")

    @property
    def folder(self) -> Path:
        """The folder of the shards."""
        return self.paths[0].parent

    def __reduce__(self) -> tuple[type["TarShards"], tuple[tuple[Path, ...]]]:
        return TarShards, (self.paths,)

    def find(self, path: str) -> str | None:
        """Return the path by which `read` finds a file, or None."""
        path = normalize_path(path)
        return path if path in self._members else None

    def list(self, folder: str) -> Iterator[str]:
        """Yield the paths of all files below `folder`; "" is the dataset's own folder."""
        prefix = f"{folder}/" if folder else ""
        yield from (path for path in self._members if path.startswith(prefix))

    def read(self, path: str, *, limit: int) -> bytes:
        """Return the content of a file.

        Raises:
            DatasetError: It is larger than `limit` bytes, or the shard was changed or cannot be read.
        """
        member = self._members[path]
        location = f"{self.paths[member.shard]} → {path}"
        if member.nbytes > limit:
            raise too_large(location, size=member.nbytes, limit=limit)
        try:
            with open_input(self.paths[member.shard], ARCHIVE) as file:
                file.seek(member.offset)
                content = file.read(member.nbytes)
        except OSError as error:
            raise DatasetError(f"{location}: cannot be read ({error}); check the disk") from error
        if len(content) < member.nbytes:
            raise DatasetError(f"{location}: the tar file ends within the file; copy the shard again")
        return content

    def size(self, path: str) -> int:
        """Return the number of bytes of a file."""
        return self._members[path].nbytes

    def checksum(self, path: str) -> int:
        """Return the CRC-32 of a file's bytes."""
        return zlib.crc32(self.read(path, limit=self.size(path)))

    @cached_property
    def _members(self) -> dict[str, _Member]:
        members: dict[str, _Member] = {}
        for number, path in enumerate(self.paths):
            try:
                self._list(number, members)
            except UNREADABLE as error:
                raise DatasetError(
                    f"{path}: this tar file cannot be read ({error}); it is damaged, incomplete or "
                    "compressed: copy it again, or decompress it"
                ) from error
        return members

    def _list(self, number: int, members: dict[str, _Member]) -> None:
        with open_input(self.paths[number], ARCHIVE) as file:
            for member in tar_members(file):
                path = _path_in_dataset(member.name)
                if path is None or member.issparse():  # `tar_members` says what is special about these
                    continue
                if path in members:
                    first = self.paths[members[path].shard]
                    raise DatasetError(f"{path} is in {first} and again in {self.paths[number]}; keep one")
                if len(members) >= MAX_MEMBERS:
                    raise DatasetError(f"{self}: more than {MAX_MEMBERS:,} files; divide the dataset")
                members[path] = _Member(number, member.offset_data, member.size)


def _path_in_dataset(member: str) -> str | None:
    """Return the path in a dataset folder that a member stands for; None for members that are not used."""
    member = normalize_path(member.removeprefix("./"))
    if member.endswith(LABELS_ENDING):
        return f"panoptic/{member.removesuffix(LABELS_ENDING)}.png"
    return f"images/{member}" if PurePosixPath(member).name.count(".") == 1 else None
