"""Zip and tar files that unpack to much, or whose members have hostile names."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from hostile import scenes, zeros
from hostile.harness import Zygote

GIB = 1 << 30


def packed_zeros(name: str, size: int, *, before: bytes = b"") -> bytes:
    """A zip file whose member unpacks to `before` and `size` zeros."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            zeros.add_member(packed, name, size, before=before)
        return file.getvalue()


def with_members(members: dict[str, bytes | str]) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as packed:
            for name, content in members.items():
                packed.writestr(name, content)
        return file.getvalue()


def lying_about_its_size(content: bytes) -> bytes:
    """A zip file whose directory states 3 bytes for the first member."""
    start = content.index(b"PK\x01\x02")
    return content[: start + 24] + struct.pack("<I", 3) + content[start + 28 :]


@cache
def many_members(count: int) -> bytes:
    return with_members({f"labels/{n}.png": b"" for n in range(count)})


def semantic(**more: bytes | str) -> dict[str, bytes | str]:
    folder = {name.removeprefix("data/"): content for name, content in scenes.semantic_folder().items()}
    return folder | more


COCO = "annotations/panoptic_val2017.json"
ZIPS: dict[str, Callable[[], bytes]] = {
    "1 GB of JSON": lambda: packed_zeros("panoptic.json", GIB),
    "1 GB of spaces in JSON": lambda: packed_zeros("panoptic.json", GIB, before=b"{"),
    "3 GiB of JSON": lambda: packed_zeros("panoptic.json", 3 * GIB),
    "2 GiB of names": lambda: packed_zeros("names.txt", 2 * GIB),
    "a member that states 3 bytes": lambda: lying_about_its_size(packed_zeros("panoptic.json", GIB)),
    "50,000 members": lambda: many_members(50_000),
    "names that lead outside": lambda: with_members(
        semantic() | {"../../x": "1", "/etc/x": "2", "..\\x": "3"}
    ),
    "equal names": lambda: with_members(semantic()),
    "a member with a long name": lambda: with_members({"a" * 60_000: b"1"}),
    "a deep member": lambda: with_members({"a/" * 30_000 + "x.json": b"1"}),
    "a name with line breaks": lambda: with_members({"labels/a\n\x1b[31m.png": b"1"}),
    "a zip in a zip in a zip": lambda: with_members(
        {"a.zip": with_members({"a.zip": with_members({"a": b""})})}
    ),
    "no members": lambda: with_members({}),
    "only its end": lambda: with_members({})[-22:],
    "an end that lies": lambda: with_members(semantic())[:-12] + b"\xff" * 12,
    "a header that lies": lambda: with_members(semantic()).replace(b"PK\x03\x04", b"PK\x03\x05"),
    "half of it": lambda: with_members(semantic())[:200],
    "a directory that is cut off": lambda: with_members(semantic())[:-60] + with_members({})[-22:],
}


@pytest.mark.parametrize("command", ["read_dataset", "check-data", "evaluate", "prepare"])
@pytest.mark.parametrize("kind", ZIPS)
def test_zip(kind: str, command: str, tmp_path: Path, zygote: Zygote):
    path = tmp_path / "data.zip"
    path.write_bytes(ZIPS[kind]())
    if command == "read_dataset":
        zygote.run(command, path=str(path)).assert_harmless()
    elif command == "evaluate":
        zygote.command(command, "--data", path, "--limit", 1, "--output", tmp_path / "out").assert_harmless()
    else:
        arguments = ["ade20k", path] if command == "prepare" else [path]
        zygote.command(command, *arguments).assert_harmless()
    assert {found.name for found in tmp_path.iterdir()} <= {"data.zip", "out", "data", "ADEChallengeData2016"}


@pytest.mark.parametrize("size", [0, GIB])
def test_a_zip_inside_a_zip_is_not_unpacked_without_a_limit(size: int, tmp_path: Path, zygote: Zygote):
    """COCO packs its panoptic maps as a zip file in the zip file of annotations."""
    document = scenes.panoptic_folder()["data/panoptic.json"]
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            packed.writestr(COCO, json.dumps(document))
            packed.writestr("val2017/1.png", b"")
            zeros.add_member(packed, "annotations/panoptic_val2017.zip", size)
        (tmp_path / "coco.zip").write_bytes(file.getvalue())
    zygote.command("check-data", "coco", "--root", tmp_path / "coco.zip").assert_harmless()


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as packed:
            for info, content in members:
                packed.addfile(info, io.BytesIO(content))
        return file.getvalue()


def member(name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def stating(size: int) -> bytes:
    """A tar file whose member states a size that it does not have."""
    return member("a.png", size=size).tobuf(tarfile.GNU_FORMAT) + bytes(1024)


TARS: dict[str, Callable[[], bytes]] = {
    "a name that leads outside": lambda: tar((member("../../a.png", size=4), b"abcd")),
    "a name from the root": lambda: tar((member("/etc/a.png", size=4), b"abcd")),
    "a symbolic link": lambda: tar((member("a.png", kind=tarfile.SYMTYPE, link="/etc/passwd"), b"")),
    "a hard link": lambda: tar((member("a.png", kind=tarfile.LNKTYPE, link="/etc/passwd"), b"")),
    "a link to itself": lambda: tar((member("a.png", kind=tarfile.LNKTYPE, link="a.png"), b"")),
    "a device": lambda: tar((member("a.png", kind=tarfile.CHRTYPE), b"")),
    "a pipe": lambda: tar((member("a.png", kind=tarfile.FIFOTYPE), b"")),
    "a folder": lambda: tar((member("a.png", kind=tarfile.DIRTYPE), b"")),
    "a size of 8 TB": lambda: stating(8 << 40),
    "a size of 2⁶²": lambda: stating(1 << 62),
    "a size of 2 GiB": lambda: stating(2 << 30),
    "an empty member": lambda: tar((member("a.png"), b"")),
    "a long name": lambda: tar((member("a" * 100_000 + ".png", size=1), b"a")),
    "a name with line breaks": lambda: tar((member("a\n\x1b[2J.png", size=1), b"a")),
    "equal names": lambda: tar((member("a.png", size=1), b"a"), (member("a.png", size=1), b"b")),
    "20,000 members": lambda: tar(*((member(f"{n}.png"), b"") for n in range(20_000))),
    "only zeros": lambda: bytes(1_000_000),
    "a wrong checksum": lambda: tar((member("a.png", size=1), b"a")).replace(b"ustar", b"xstar", 1),
    "cut off": lambda: tar((member("a.png", size=5_000), bytes(5_000)))[:900],
    "another file": lambda: with_members({"a": b"1"}),
}


@pytest.mark.parametrize("kind", TARS)
def test_tar(kind: str, tmp_path: Path, zygote: Zygote):
    path = tmp_path / "a.tar"
    path.write_bytes(TARS[kind]())
    zygote.run("list_batch_items", path=str(path)).assert_harmless()
