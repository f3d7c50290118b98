"""Images in WebDataset tar shards: members are listed once and read by their position, never unpacked."""

import tarfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ovrcoat.batch.item import Item
from ovrcoat.batch.storage import MAX_IMAGE_BYTES, describe, open_binary
from ovrcoat.data.find_images import SUFFIXES
from ovrcoat.data.tar_members import UNREADABLE, tar_members
from ovrcoat.system.paths import printable

MAX_MEMBERS = 10_000_000


class _Member(NamedTuple):
    """An image of a tar file: the key of its sample, its suffix, and its position."""

    key: str
    suffix: str
    offset: int
    nbytes: int
    problem: str | None


def list_tar(path: str, *, name: str) -> Iterator[Item]:
    """Yield the images of a tar file in its order.

    A sample of WebDataset is all members with one key: the name up to the first dot of its last part. The id
    of an image is "NAME/KEY", or "NAME/KEY.SUFFIX" if a sample has several images. A member such as
    "0001.seg.png" is not an image of the sample. A damaged tar file yields an item with a problem after the
    images that come before the damage.

    Args:
        path: absolute path or URL.
        name: of the tar file, as the user gave it.
    """
    members: list[_Member] = []
    problem = None
    try:
        with open_binary(path) as file:
            problem = _read_members(file, members)
    except UNREADABLE as error:
        problem = describe(error)
    repeated = {first.key for first, second in pairwise(members) if first.key == second.key}
    for member in members:
        yield Item(
            id=f"{name}/{member.key}{member.suffix if member.key in repeated else ''}",
            path=f"{path}/{member.key}{member.suffix}",
            container=path,
            offset=member.offset,
            nbytes=member.nbytes,
            problem=member.problem,
        )
    if problem is not None:
        yield Item(
            id=f"{name}#end",
            path=path,
            problem=f"{printable(path)}: the tar file is damaged or incomplete after {len(members)} images "
            f"({problem}); download it again",
        )


def _read_members(file: Any, members: list[_Member]) -> str | None:
    """Collect the images; return why some are left out, or None."""
    for member in tar_members(file):
        name = PurePosixPath(member.name).name
        stem, _, ending = name.partition(".")
        if name.startswith(".") or f".{ending.lower()}" not in SUFFIXES:
            continue
        if len(members) >= MAX_MEMBERS:
            return f"more than {MAX_MEMBERS:,} images"
        key = member.name[: len(member.name) - len(name)] + stem
        members.append(_Member(key, f".{ending}", member.offset_data, member.size, _member_problem(member)))
    return None


def _member_problem(member: tarfile.TarInfo) -> str | None:
    if member.issparse():
        return f"{printable(member.name)}: sparse member of a tar file; pack it as an ordinary file"
    if member.size > MAX_IMAGE_BYTES:
        return f"{printable(member.name)}: {member.size:,} bytes, expected at most {MAX_IMAGE_BYTES:,}"
    return None
