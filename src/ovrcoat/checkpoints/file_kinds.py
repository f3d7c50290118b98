"""Recognize checkpoint files by their content: the one place that decides why a file is not a checkpoint."""

import re
import zipfile
from pathlib import Path

from ovrcoat.errors import CheckpointError
from ovrcoat.system.input_files import WEIGHTS, check_input, open_input

HEAD_BYTES = 512
MAX_UNPACKED_RATIO = 4
FREE_BYTES = 64 << 20  # small files may have any ratio
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
SHARD_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
INDEX_ENDING = ".index.json"
_AGAIN = "download the file itself again"
_STARTS = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer, not the weights themselves; run: git lfs pull, or download it from its page",
    ),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"GGUF", "is a GGUF file of a language model, not a checkpoint of FC-CLIP, OVRCOAT or MAFT+"),
    (b"\x89HDF", "is an HDF5 file (Keras), not PyTorch weights; use the PyTorch weights"),
    (b"%PDF", f"is a PDF document, not weights; {_AGAIN}"),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"


def not_a_checkpoint(path: Path) -> str | None:
    """Return what a file is and what to do, as the end of "FILE ..."; None if it may hold weights."""
    head = _head(path)
    if not head:
        return "is empty: the download or the copy failed; download it again"
    for start, description in _STARTS:
        if head.startswith(start):
            return description
    if not any(head.strip(b"\0")):
        return "holds only zeros: the copy or the download was interrupted; download it again"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_MARKUP):
        return (
            "is a web page, not weights: the download gave an error, a login or a preview page; "
            "use the link that downloads the file itself"
        )
    if text.startswith((b"{", b"[")):
        return f"is JSON text, not weights: perhaps the answer of a server or a configuration; {_AGAIN}"
    return None


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins like a safetensors file: the length of its header, then JSON."""
    head = _head(path)
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES


def is_pytorch(path: Path) -> bool:
    """Return whether a file begins like one that `torch.save` or `pickle` has written."""
    return _head(path).startswith((_ZIP, _PICKLE))


def check_unpacked_size(path: Path) -> None:
    """Check that a zip file of PyTorch, whose members are not compressed, does not unpack to much more.

    Raises:
        CheckpointError: it does.
    """
    try:
        size = check_input(path, WEIGHTS)
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(info.file_size for info in packed.infolist())
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return  # a plain pickle, or damaged: PyTorch tells
    if unpacked > MAX_UNPACKED_RATIO * size + FREE_BYTES:
        raise CheckpointError(
            f"{path.name} is not read: it unpacks to {unpacked:,} bytes, several times its own size, as no "
            "file of weights does"
        )


def shard_paths(path: Path) -> list[Path] | None:
    """Return all parts of a sharded checkpoint by the name of one; None if the name is not that of a part."""
    found = SHARD_NAME.fullmatch(path.name)
    if found is None:
        return None
    count = int(found["count"])
    names = [f"{found['stem']}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    return [path.with_name(name) for name in names]


def _head(path: Path) -> bytes:
    try:
        with open_input(path, WEIGHTS) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b"?"  # opening it for its content reports the error
