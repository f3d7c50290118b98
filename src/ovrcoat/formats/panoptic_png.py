"""COCO's panoptic PNG, encoded and decoded in one place.

Each pixel of the 8-bit RGB image stores the id of its segment as R + 256 G + 65536 B; 0 is void. Decoding
PNGs takes most of the time of `ovrcoat score`. kornia-rs (the optional extra `score`, a wheel around Rust's
png decoder) needs a quarter of Pillow's time, so it is used where installed. Needs no torch.
"""

import io
import struct
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import Int32
from PIL import Image, PngImagePlugin

from ovrcoat.errors import DatasetError, MissingExtraError
from ovrcoat.formats.limits import LABEL_BYTES, decoding_problem
from ovrcoat.system.atomic_write import PNG_SIGNATURE
from ovrcoat.system.input_files import LABELS, read_input
from ovrcoat.system.optional_imports import import_optional

VOID = 0
MAX_SEGMENT_ID = (1 << 24) - 1  # three bytes per pixel
_ID_BITS = np.uint32(
    MAX_SEGMENT_ID
)  # the fourth byte of a 32-bit read is alpha, or belongs to the next pixel
_HEADER = struct.Struct(">8s4x4sIIBB")  # signature, chunk type, width, height, bit depth, color type
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {0: "grayscale", 2: "RGB", 3: "palette", 4: "grayscale with alpha", 6: "RGB with alpha"}
_RGB, _RGBA = 2, 6


class PanopticPngError(DatasetError):
    """A file is not a usable panoptic PNG.

    Attributes:
        code: Issue code: "png-missing", "png-damaged", "png-not-rgb" or "png-too-large".
        detail: What is wrong with this file, without the advice that `str` adds.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{detail}; {_ADVICE[code]}")
        self.code = code
        self.detail = detail


_ADVICE = {
    "png-missing": "copy the file to its folder",
    "png-damaged": "expected a complete PNG file: copy or download it again",
    "png-not-rgb": "expected 8-bit RGB, which stores a segment's id as R + 256 G + 65536 B: write the file "
    "again in that format",
    "png-too-large": "split the image into smaller ones",
}


class DecodedPng(NamedTuple):
    """Segment ids per pixel, and whether the PNG has an alpha channel, which is ignored."""

    id_map: Int32[np.ndarray, "height width"]
    has_alpha: bool


def write_id_png(file: IO[bytes], id_map: Int32[np.ndarray, "height width"]) -> None:
    """Write the panoptic PNG of an id map, with the text chunk that identifies files of this package."""
    text = PngImagePlugin.PngInfo()
    text.add_text(*PNG_SIGNATURE)
    id_map_to_image(id_map).save(file, format="PNG", pnginfo=text)


def png_name(file_name: str) -> str:
    """Return the name of a panoptic PNG as it is stored.

    Some converters list the name of the image ("a.jpg") although the labels are in "a.png", since a JPEG
    cannot store ids.
    """
    stem, dot, suffix = file_name.rpartition(".")
    return f"{stem}.png" if dot and suffix.lower() in ("jpg", "jpeg") else file_name


def id_map_to_image(id_map: Int32[np.ndarray, "height width"]) -> Image.Image:
    """Encode segment ids from 0 to 2²⁴ - 1 as an RGB image; save it as PNG."""
    return Image.fromarray(np.stack(split_channels(id_map), axis=-1).astype(np.uint8))


def split_channels(id_map: Int32[np.ndarray, "height width"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split ids into the values 0..255 of their red, green and blue channels."""
    return id_map & 255, id_map >> 8 & 255, id_map >> 16


def image_to_id_map(image: Image.Image) -> Int32[np.ndarray, "height width"]:
    """Decode the segment ids of an RGB or RGBA image; alpha is ignored."""
    # Pillow stores RGB in four bytes per pixel, so reading them as integers needs no arithmetic on channels.
    content = image.tobytes("raw", "RGBX" if image.mode == "RGB" else "RGBA")
    ids = np.frombuffer(content, dtype="<u4") & _ID_BITS
    return ids.astype(np.int32, copy=False).reshape(image.height, image.width)


def read_id_map(path: Path) -> DecodedPng:
    """Read the segment ids of a panoptic PNG file.

    Raises:
        PanopticPngError: The file is missing, damaged, too large or not 8-bit RGB.
    """
    try:
        content = read_input(path, LABELS)
    except FileNotFoundError as error:
        raise PanopticPngError("png-missing", "not found") from error
    except OSError as error:
        raise PanopticPngError("png-damaged", error.strerror or str(error)) from error
    return decode_id_map(content)


def decode_id_map(content: bytes) -> DecodedPng:
    """Decode the segment ids of a panoptic PNG in memory.

    Raises:
        PanopticPngError: The content is damaged, too large or not 8-bit RGB.
    """
    has_alpha = _check_header(content[: _HEADER.size], size=len(content))
    return DecodedPng(_decode(content), has_alpha)


def _check_header(header: bytes, *, size: int) -> bool:
    """Validate a PNG before it is decoded; return whether it has an alpha channel."""
    if len(header) < _HEADER.size:
        raise PanopticPngError("png-damaged", f"the file has only {size} bytes")
    signature, chunk, width, height, depth, color = _HEADER.unpack(header)
    if signature != _SIGNATURE or chunk != b"IHDR":
        raise PanopticPngError("png-damaged", "the file is not a PNG")
    if depth != 8 or color not in (_RGB, _RGBA):  # Pillow would silently reduce 16 bits to 8
        raise PanopticPngError("png-not-rgb", f"{depth}-bit {_COLOR_TYPES.get(color, color)}")
    problem = decoding_problem(width, height, pixel_bytes=LABEL_BYTES) or LABELS.problem(size)
    if problem is not None:
        raise PanopticPngError("png-too-large", problem)
    return bool(color == _RGBA)


def _decode(content: bytes) -> Int32[np.ndarray, "height width"]:
    try:
        return _decoder()(content)
    except Exception as error:  # decoders raise all kinds of exceptions for damaged files
        raise PanopticPngError("png-damaged", str(error) or type(error).__name__) from error


@cache
def _decoder() -> Callable[[bytes], Int32[np.ndarray, "height width"]]:
    try:
        return partial(_decode_with_kornia, import_optional("kornia_rs.io", extra="score"))
    except MissingExtraError:
        return _decode_with_pillow


def _decode_with_kornia(library: ModuleType, content: bytes) -> Int32[np.ndarray, "height width"]:
    _, _, width, height, _, color = _HEADER.unpack(content[: _HEADER.size])
    colors = library.decode_image_png_u8(content, (height, width), "rgb" if color == _RGB else "rgba")
    if color == _RGBA:
        colors = np.ascontiguousarray(colors[..., :3])
    # Read four bytes at every third byte, and the last pixel separately. This takes a quarter of the time of
    # adding up the channels.
    channels = colors.reshape(-1)
    overlapping = np.ndarray(height * width - 1, dtype="<u4", buffer=channels, strides=(3,))
    ids = np.empty(height * width, dtype=np.uint32)
    np.bitwise_and(overlapping, _ID_BITS, out=ids[:-1])
    ids[-1] = int.from_bytes(channels[-3:].tobytes(), "little")
    return ids.view(np.int32).reshape(height, width)


def _decode_with_pillow(content: bytes) -> Int32[np.ndarray, "height width"]:
    return image_to_id_map(Image.open(io.BytesIO(content), formats=("PNG",)))
