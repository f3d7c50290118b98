"""Recover images whose pixels are complete although the file is damaged elsewhere, as image viewers do.

Works on the bytes of a file. Pillow's own switch for this is global, so it would affect other threads, and it
accepts files that lack pixels.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, ImageChops

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# The chunks that pixels or their orientation depend on. Viewers ignore other ones that are damaged.
_PNG_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PNG_WANTED = (b"tRNS", b"eXIf")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_START_OF_FRAME = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
# APP1..APP13, APP15 and the comment; APP0 is JFIF, APP14 the color transform.
_JPEG_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)
# Data behind the last scan, with and without all restart markers, where decoding could continue.
_RESTARTS = tuple(bytes([0xFF, 0xD0 + number]) for number in range(8))
_FILLERS = (
    b"\x55\xaa" * 64,
    b"\xfe\x01\x3c" * 64,
    b"".join(b"\x55\xaa\x3c" * 40 + restart for restart in _RESTARTS * 2),
    b"".join(restart + b"\xfe\x01\x3c" * 40 for restart in _RESTARTS * 2),
)
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not an escaped byte, restart marker or fill byte
_COEFFICIENTS = 64


def without_metadata(content: bytes) -> bytes | None:
    """Return a JPEG or PNG without its metadata; None if it has none or is of another format."""
    try:
        if content.startswith(_PNG):
            return _png_without_metadata(content)
        if content.startswith(_JPEG):
            return _jpeg_without_metadata(content)
    except (struct.error, IndexError):  # the file ends inside the metadata
        pass
    return None


def with_end_marker(content: bytes) -> bytes | None:
    """Complete a JPEG that lacks nothing but its end marker; None for any other file.

    The decoder replaces missing data silently. So two things are checked: The file has all scans, and other
    data behind its last scan changes no pixel.
    """
    if not content.startswith(_JPEG):
        return None
    scans = content.rstrip(b"\xff")  # a half marker would hide what follows it
    completed = scans + _END_OF_IMAGE
    try:
        if not _has_all_scans(content):
            return None
        pixels = _decode(completed)
        if any(
            ImageChops.difference(pixels, _decode(scans + filler + _END_OF_IMAGE)).getbbox(alpha_only=False)
            for filler in _FILLERS
        ):
            return None
    except Exception:
        return None
    return completed


def _has_all_scans(content: bytes) -> bool:
    """Return whether a JPEG has scans for all coefficients of all components, with full precision.

    A baseline JPEG usually has one scan. The scans of a progressive one refine each other.
    """
    components: set[int] = set()
    missing: set[tuple[int, int]] = set()
    position = 2
    while (found := _MARKER.search(content, position)) is not None:
        marker, start = found.group()[1], found.end()
        if len(content) < start + 2:
            break
        end = start + int.from_bytes(content[start : start + 2], "big")
        segment = content[start + 2 : end]
        if marker in _START_OF_FRAME:
            components = {segment[6 + 3 * index] for index in range(segment[5])}
            missing = {(component, k) for component in components for k in range(_COEFFICIENTS)}
        elif marker == _START_OF_SCAN:
            count = segment[0]
            first, last, precision = segment[1 + 2 * count : 4 + 2 * count]
            if precision & 15 == 0:
                scanned = {segment[1 + 2 * index] for index in range(count)}
                missing -= {(component, k) for component in scanned for k in range(first, last + 1)}
        position = end
    return bool(components) and not missing


def _decode(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=("JPEG",))
    image.load()
    return image


def _png_without_metadata(content: bytes) -> bytes | None:
    """Keep the chunks that are needed, and those that are wanted and not damaged."""
    kept, dropped = [_PNG], 0
    for kind, chunk in _png_chunks(content):
        is_sound = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind in _PNG_NEEDED or (kind in _PNG_WANTED and is_sound):
            kept.append(chunk)
        else:
            dropped += 1
    return b"".join(kept) if dropped else None


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(_PNG)
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length
        yield kind, content[position:end]
        position = end


def _jpeg_without_metadata(content: bytes) -> bytes | None:
    """Remove the metadata before the first scan."""
    kept, position, dropped = [content[:2]], 2, 0
    while True:
        mark, marker = content[position], content[position + 1]
        if mark != 0xFF:
            return None
        if marker == _START_OF_SCAN:
            break
        (length,) = struct.unpack_from(">H", content, position + 2)
        end = position + 2 + length
        if marker in _JPEG_METADATA:
            dropped += 1
        else:
            kept.append(content[position:end])
        position = end
    return b"".join([*kept, content[position:]]) if dropped else None
