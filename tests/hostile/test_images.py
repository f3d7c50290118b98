"""Image files whose decoding would take much memory or time, and damaged files of every format."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hostile import zeros
from hostile.harness import Zygote
from hostile.scenes import SCENES


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    *,
    depth: int = 8,
    color: int = 0,
    extra: bytes = b"",
    rows: int = 64,
    most: int = 100_000_000,
) -> bytes:
    """A PNG that states a size, with zeros for some of its rows, of at most so many bytes."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    line = 1 + (width * channels * depth + 7) // 8
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3)) if color == 3 else b""
    pixels = chunk(b"IDAT", zeros.zlib_stream(min(line * min(rows, height), most)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + extra + pixels + chunk(b"IEND", b"")


def full_png(width: int, height: int, *, depth: int = 8, color: int = 0) -> bytes:
    """A complete PNG of zeros."""
    return png(width, height, depth=depth, color=color, rows=height, most=1 << 30)


def webp_canvas(width: int, height: int, *, animated: bool) -> bytes:
    """A WebP of less than 100 bytes that states a canvas."""
    head = (
        bytes([2 if animated else 0, 0, 0, 0])
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    still = io.BytesIO()
    Image.new("RGB", (1, 1)).save(still, "WEBP", lossless=True)
    frame = still.getvalue()[12:]
    where = bytes(6) + bytes(6) + (100).to_bytes(3, "little") + b"\0"
    parts = [(b"VP8X", head)]
    if animated:
        parts += [(b"ANIM", bytes(6)), (b"ANMF", where + frame)]
    body = b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in parts
    )
    body += b"" if animated else frame
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def scans(count: int, side: int) -> bytes:
    """A progressive JPEG in which one scan is repeated."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (9, 99, 199)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + content[-2:]


def bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head


def gif(width: int, height: int) -> bytes:
    small = io.BytesIO()
    Image.new("P", (1, 1)).save(small, "GIF")
    content = bytearray(small.getvalue())
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def tiff(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "TIFF")
    content = file.getvalue()
    for tag, size in ((256, width), (257, height)):
        place = content.index(struct.pack("<H", tag))
        content = content[: place + 2] + struct.pack("<HII", 4, 1, size) + content[place + 12 :]
    return content


def tga(width: int, height: int) -> bytes:
    return bytes([0, 0, 10]) + bytes(9) + struct.pack("<HHBB", width, height, 24, 0) + b"\xff\0\0\0" * 20


HUGE: dict[str, Callable[[], bytes]] = {
    "png of one column": lambda: png(1, 178_956_970),
    "png of one row": lambda: png(178_956_970, 1),
    "complete png of one column": lambda: full_png(1, 80_000_000),
    "png at the limit": lambda: full_png(13_377, 13_377),
    "png with alpha at the limit": lambda: full_png(13_377, 13_377, color=6),
    "png with gray and alpha": lambda: full_png(13_377, 13_377, color=4),
    "png of 16 bits": lambda: full_png(13_377, 13_377, depth=16),
    "png of one bit": lambda: full_png(13_377, 13_377, depth=1),
    "png of 16-bit color": lambda: full_png(9_000, 9_000, depth=16, color=2),
    "png above the limit": lambda: png(20_000, 20_000),
    "png of 2³¹ columns": lambda: png(2**31 - 1, 2**31 - 1),
    "png of no columns": lambda: png(0, 5),
    "png palette at the limit": lambda: png(13_377, 13_377, color=3),
    "webp animation": lambda: webp_canvas(13_377, 13_377, animated=True),
    "webp animation of 16,384": lambda: webp_canvas(16_384, 16_384, animated=True),
    "webp animation of one row": lambda: webp_canvas(16_777_216, 10, animated=True),
    "webp canvas": lambda: webp_canvas(13_377, 13_377, animated=False),
    "jpeg of 3,000 scans": lambda: scans(3_000, 1_000),
    "jpeg of 300,000 scans": lambda: scans(300_000, 8),
    "jpeg of 90 scans, large": lambda: scans(90, 4_000),
    "jpeg of 90 scans": lambda: scans(90, 500),
    "bmp": lambda: bmp(13_377, 13_377),
    "bmp of one row": lambda: bmp(178_956_970, 1),
    "bmp of one column": lambda: bmp(1, 178_956_970),
    "bmp upside down": lambda: bmp(13_377, -13_377),
    "gif canvas": lambda: gif(65_535, 2_700),
    "gif canvas above the limit": lambda: gif(65_535, 65_535),
    "tiff": lambda: tiff(13_377, 13_377),
    "tiff of one row": lambda: tiff(178_956_970, 1),
    "tiff above the limit": lambda: tiff(2**31, 2**31),
    "tga": lambda: tga(13_377, 13_377),
    "tga above the limit": lambda: tga(65_535, 65_535),
    "ppm": lambda: b"P6 13377 13377 255\n" + bytes(100),
    "ppm of one column": lambda: b"P5 1 178956970 255\n" + bytes(100),
    "ppm of text": lambda: b"P3 13377 13377 255\n" + b"1 " * 400_000,
    "ppm of a long number": lambda: b"P3 2 2 255\n" + b"1" * 400_000,
    "pfm": lambda: b"PF 9000 9000 -1.0\n" + bytes(100),
}  # fmt: skip


@pytest.mark.parametrize("kind", HUGE)
def test_a_file_that_states_a_large_image(kind: str, tmp_path: Path, zygote: Zygote):
    path = tmp_path / "image"
    path.write_bytes(HUGE[kind]())
    zygote.run("read_image", path=str(path)).assert_harmless()


LABELS = ("panoptic png", "label map", "panoptic folder, png", "semantic folder, labels")


@pytest.mark.parametrize("color", [0, 2])
@pytest.mark.parametrize("size", [(1, 178_956_970), (13_377, 13_377), (9_000, 9_000), (2**31 - 1, 9)])
@pytest.mark.parametrize("scene", LABELS)
def test_a_label_map_that_states_a_large_image(
    scene: str, size: tuple[int, int], color: int, tmp_path: Path, zygote: Zygote
):
    SCENES[scene].build(tmp_path)
    victim = tmp_path / SCENES[scene].victim
    is_complete = size == (9_000, 9_000)
    victim.write_bytes((full_png if is_complete else png)(*size, color=color))
    SCENES[scene].run(zygote, victim).assert_harmless()


FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "JPEG2000", "TGA", "AVIF")


def damaged() -> Iterator[tuple[str, int]]:
    for form in FORMATS:
        for seed in range(6):
            yield form, seed


@pytest.mark.parametrize(("form", "seed"), list(damaged()))
def test_a_damaged_file(form: str, seed: int, tmp_path: Path, zygote: Zygote):
    generator = random.Random(f"{form} {seed}")
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    content = bytearray(file.getvalue())
    for _ in range(1 + 4 * seed):
        content[generator.randrange(min(len(content), 200 << seed))] = generator.randrange(256)
    if seed % 3 == 2:
        del content[generator.randrange(len(content)) :]
    path = tmp_path / "image"
    path.write_bytes(content)
    zygote.run("read_image", path=str(path)).assert_harmless()


TEXTS = {
    "a long text": (b"iTXt", b"a\0\1\0\0\0" + zeros.zlib_stream(200_000_000)),
    "a long compressed text": (b"zTXt", b"a\0\0" + zeros.zlib_stream(200_000_000)),
    "a long profile": (b"iCCP", b"a\0\0" + zeros.zlib_stream(200_000_000)),
    "deep EXIF": (b"eXIf", b"MM\0*\0\0\0\x08" + b"\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08" * 9),
    "much transparency": (b"tRNS", bytes(1_000_000)),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_metadata_of_a_png(kind: str, tmp_path: Path, zygote: Zygote):
    name, data = TEXTS[kind]
    path = tmp_path / "image.png"
    path.write_bytes(png(64, 64, extra=chunk(name, data)))
    zygote.run("read_image", path=str(path)).assert_harmless()


NAMES = {
    "300 characters": "a" * 300 + ".png",
    "5,000 characters": "a" * 5_000 + ".png",
    "5,000 folders": "a/" * 5_000 + "a.png",
    "a null character": "a\0.png",
    "line breaks": "a\nb\r\n.png",
    "escapes": "\x1b[2J\x1b]0;x\x07.png",
    "right to left": "\u202egnp.exe",
    "a lone surrogate": "\udce9.png",
    "half a character": "\ud800.png",
    "a user that does not exist": "~nobody-here/a.png",
    "a URL": "http://127.0.0.1:9/a.png",
    "a file URL": "file:///etc/passwd",
    "a data URI": "data:image/png;base64,AAAA",
    "a pattern": "[!a-z]**/***",
    "nothing": "",
    "spaces": "   ",
    "a descriptor": "/dev/fd/0",
    "memory of the process": "/proc/self/mem",
    "memory map": "/proc/self/pagemap",
    "kernel log": "/proc/kmsg",
    "random numbers": "/dev/urandom",
    "a terminal": "/dev/tty",
    "passwords": "/etc/passwd",
}


@pytest.mark.parametrize(
    "reader",
    [
        "read_image",
        "read_vocabulary",
        "load_model",
        "read_dataset",
        "read_training_config",
        "list_batch_items",
    ],
)
@pytest.mark.parametrize("kind", NAMES)
def test_names(kind: str, reader: str, zygote: Zygote, tmp_path: Path):
    zygote.run(reader, path=NAMES[kind]).assert_harmless()
