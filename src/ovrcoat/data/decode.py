"""Decode image files as image viewers do: upright 8-bit RGB, with notes about what is unusual in a file.

A file whose pixels are complete is read even if its metadata is damaged. Missing pixels are an error.
"""

import io
from typing import cast

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from ovrcoat.data.file_kinds import FORMATS, HEAD_BYTES, OPENED_FORMATS, describe
from ovrcoat.data.pillow_warnings import pillow_warnings_ignored
from ovrcoat.data.pixels import MAX_16_BITS, RgbImage, array_pixels, composite_on_white, dark_notes
from ovrcoat.data.repair import with_end_marker, without_metadata
from ovrcoat.errors import ImageError
from ovrcoat.formats.limits import MAX_PIXELS, decoding_problem

MAX_REPAIRED_BYTES = 200 << 20
_TOO_LARGE = f"more than {MAX_PIXELS:,} pixels, the limit for decoding; shrink or split the image"

# Bytes per pixel at the peak: what Pillow stores, the conversion to RGB, a rotated copy and the array.
_PIXEL_BYTES = {"1": 8, "L": 8, "P": 8, "RGB": 11, "I;16": 12, "I": 16, "F": 20}
_TRANSPARENT_BYTES = 20  # converted to RGBA and composited onto white
_DECODER_BYTES = {"JPEG2000": 16, "WEBP": 8, "AVIF": 8}  # what decoders of whole images take in addition
_ANIMATION_BYTES = 24  # Pillow creates the canvas of a WebP animation when it opens the file
_WEBP_HEAD = 30
_START_OF_SCAN = b"\xff\xda"
# A progressive JPEG has about 10 scans. Each scan passes over all pixels, so thousands would take minutes.
_MAX_SCANS = 100
_FEW_SCANS, _MAX_SCANNED_PIXELS = 12, 1_000_000_000

_ROTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NO_METADATA = "its metadata is damaged and was ignored"
_NO_END = "its end marker is missing; all pixels are complete"
_DECLARED_ALPHA = (
    "its last band is declared as alpha (transparency), so it is composited onto white; remove the band if "
    "it holds something else"
)
# Many programs leave the fourth byte of each pixel unused in these formats; viewers show the colors.
_UNUSED_BYTES = ("TGA", "BMP", "DIB")
# TIFF tags
_SUBFILE_TYPE, _BITS, _EXTRA_SAMPLES, _SUB_IFDS, _DNG_VERSION = 254, 258, 338, 330, 50706
_ASSOCIATED, _UNASSOCIATED = 1, 2  # values of _EXTRA_SAMPLES for alpha


class _DamagedError(ImageError):
    """The file cannot be decoded as it is."""


def decode_file(file: io.BytesIO | io.BufferedReader, *, label: str) -> RgbImage:
    """Decode the content of a file.

    Args:
        file: can be read from its beginning, and again.
        label: beginning of error messages.

    Raises:
        ImageError: The content is empty, damaged, not an image, too large or of an unsupported format.
    """
    if not file.read(1):
        raise ImageError(f"{label}: the file is empty (0 bytes); copy or download it again")
    file.seek(0)
    with pillow_warnings_ignored():
        try:
            return _open_and_decode(file, label=label)
        except _DamagedError as error:
            file.seek(0)
            recovered = _recover(file.read(MAX_REPAIRED_BYTES + 1), label=label)
            if recovered is None:
                raise ImageError(str(error)) from error.__cause__
            return recovered


def declared_pixels(content: bytes | io.BufferedReader) -> int | None:
    """Return width × height as the head of an image file states them, without decoding pixels.

    Args:
        content: the content of the file, or the open file.

    Returns:
        The number of pixels, or None if the content is not an image. Above Pillow's own limit, at least
        `MAX_PIXELS` + 1.
    """
    with pillow_warnings_ignored():
        try:
            file = io.BytesIO(content) if isinstance(content, bytes) else content
            with Image.open(file, formats=OPENED_FORMATS) as image:
                return image.width * image.height
        except Image.DecompressionBombError:
            return MAX_PIXELS + 1
        except Exception:  # decoders raise all kinds of exceptions for damaged files
            return None


def decode_pillow(image: Image.Image, *, label: str, raw_mode: str = "") -> RgbImage:
    """Decode if necessary, apply EXIF rotation and convert to RGB; the size is checked before decoding.

    Args:
        image: left unchanged, apart from being loaded.
        label: beginning of error messages.
        raw_mode: Pillow's description of how the file stores its pixels, if it was opened from a file.

    Raises:
        ImageError: The image is damaged, has no pixels or too many, or a mode that cannot become RGB.
    """
    if image.mode in ("P", "PA") and image.palette is None:  # which Pillow only asserts
        raise _DamagedError(
            f"{label}: the image is damaged (its palette is missing); copy or download it again"
        )
    pixel_bytes = _PIXEL_BYTES.get(image.mode, 12) + _DECODER_BYTES.get(image.format or "", 0)
    if image.has_transparency_data:
        pixel_bytes = max(pixel_bytes, _TRANSPARENT_BYTES)
    if problem := decoding_problem(image.width, image.height, pixel_bytes=pixel_bytes):
        raise ImageError(f"{label}: {problem}")
    if image.width * image.height == 0:
        raise ImageError(f"{label}: the image has no pixels ({image.width} × {image.height})")
    try:
        image.load()
    except Exception as error:  # decoders raise all kinds of exceptions for damaged files
        reason = str(error) or type(error).__name__
        raise _DamagedError(
            f"{label}: the image is truncated or damaged ({reason}); copy or download it again"
        ) from error
    bits = _tiff_tag(image, _BITS)
    orientation, exif_notes = exif_orientation(image)
    image, band_notes = _without_other_bands(image)
    upright = image.transpose(_ROTATIONS[orientation]) if orientation in _ROTATIONS else image
    colors = _rgb(upright, bits=bits, raw_mode=raw_mode, label=label)
    return RgbImage(colors.pixels, (*band_notes, *exif_notes, *colors.notes))


def exif_orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """Return the EXIF orientation, 1..8, and a note if it cannot be read; it is then 1, upright."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1, ("its EXIF data is damaged; the image is taken as upright",)
    if value in range(1, 9):
        return int(value), ()
    if value == 0:  # some cameras write it for "unknown"
        return 1, ()
    return 1, (f"its EXIF orientation is {value!r}, expected 1 to 8; the image is taken as upright",)


def _open_and_decode(file: io.BytesIO | io.BufferedReader, *, label: str) -> RgbImage:
    _check_animation(file, label=label)
    try:
        image = Image.open(file, formats=OPENED_FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{label}: {_TOO_LARGE} ({error})") from error
    except Exception as error:  # decoders raise all kinds of exceptions for damaged files
        file.seek(0)
        description = describe(file.read(HEAD_BYTES))
        raise _DamagedError(
            f"{label}: {description}"
            if description
            else f"{label}: not an image in a supported format ({', '.join(FORMATS)}), or damaged at its "
            "beginning; convert it to JPEG or PNG"
        ) from error
    if _is_raw_preview(image):
        raise ImageError(
            f"{label}: a raw image of a camera (DNG), of which only a small preview could be read; convert "
            "it to JPEG or PNG"
        )
    if image.format in ("JPEG", "MPO") and image.info.get("progressive"):
        _check_scans(file, image.width * image.height, label=label)
    raw_mode = str(image.tile[0][3]) if image.tile else ""
    return decode_pillow(image, label=label, raw_mode=raw_mode)


def _check_animation(file: io.BytesIO | io.BufferedReader, *, label: str) -> None:
    """Check the canvas of a WebP animation, for which Pillow allocates memory when it opens the file."""
    head = file.read(_WEBP_HEAD)
    file.seek(0)
    is_animation = (
        head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == _WEBP_HEAD and head[20] & 2
    )
    if is_animation:
        width, height = (int.from_bytes(head[start : start + 3], "little") + 1 for start in (24, 27))
        if problem := decoding_problem(width, height, pixel_bytes=_ANIMATION_BYTES):
            raise ImageError(f"{label}: {problem}")


def _check_scans(file: io.BytesIO | io.BufferedReader, pixels: int, *, label: str) -> None:
    """Check the number of scans of a progressive JPEG; the position in the file stays the same."""
    position = file.tell()
    file.seek(0)
    scans, last = 0, b""
    while block := file.read(1 << 20):
        scans += (last + block).count(_START_OF_SCAN)
        last = block[-1:]
    file.seek(position)
    if scans > _MAX_SCANS or (scans > _FEW_SCANS and scans * pixels > _MAX_SCANNED_PIXELS):
        raise ImageError(
            f"{label}: this progressive JPEG has {scans:,} scans, which would take very long; save it "
            "again as a baseline JPEG"
        )


def _recover(content: bytes, *, label: str) -> RgbImage | None:
    """Decode a damaged file whose pixels are complete; None if they are not."""
    if len(content) > MAX_REPAIRED_BYTES:
        return None
    candidates: list[tuple[bytes, tuple[str, ...]]] = [(content, ())]
    if (bare := without_metadata(content)) is not None:
        candidates.append((bare, (_NO_METADATA,)))
    candidates += [
        (completed, (*notes, _NO_END))
        for candidate, notes in candidates
        if (completed := with_end_marker(candidate)) is not None
    ]
    for candidate, notes in candidates[1:]:
        try:
            image = _open_and_decode(io.BytesIO(candidate), label=label)
        except _DamagedError:
            continue
        return RgbImage(image.pixels, (*notes, *image.notes))
    return None


def _is_raw_preview(image: Image.Image) -> bool:
    """Return whether a TIFF file is a camera's raw image, whose first picture is a preview."""
    if _tiff_tag(image, _DNG_VERSION) is not None:
        return True
    return bool(_tiff_tag(image, _SUBFILE_TYPE) == 1 and _tiff_tag(image, _SUB_IFDS))


def _tiff_tag(image: Image.Image, tag: int) -> object:
    """Return the value of a tag; None if the image was not opened from a TIFF file, or lacks the tag."""
    tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
    try:
        return None if tags is None else tags.get(tag)
    except Exception:
        return None


def _without_other_bands(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an image without a last band that is not alpha, such as near infrared or unused bytes."""
    if image.mode not in ("RGBA", "LA"):
        return image, ()
    lowest, highest = cast("tuple[int, int]", image.getchannel("A").getextrema())
    if lowest == 255:
        return image, ()  # opaque: alpha has no effect
    note = ""
    is_alpha = True
    if image.format == "TIFF":
        declared = _tiff_tag(image, _EXTRA_SAMPLES)
        kinds = declared if isinstance(declared, tuple) else (declared,)
        is_alpha = _ASSOCIATED in kinds or _UNASSOCIATED in kinds
        note = _DECLARED_ALPHA if is_alpha else "its last band is not declared as alpha and was ignored"
    elif highest == 0:
        is_alpha = image.format not in _UNUSED_BYTES
        note = (
            "all its pixels are transparent, so the image is white"
            if is_alpha
            else "its alpha is 0 everywhere and was ignored"
        )
    return image if is_alpha else image.convert(image.mode[:-1]), (note,) if note else ()


def _rgb(image: Image.Image, *, bits: object, raw_mode: str, label: str) -> RgbImage:
    if image.mode.startswith("I") or image.mode == "F":
        return array_pixels(_wide_array(image, bits=bits, label=label), label=label)
    try:
        converted = composite_on_white(image) if image.has_transparency_data else image.convert("RGB")
    except ValueError as error:
        raise ImageError(
            f"{label}: images of mode {image.mode} are not supported ({error}); convert it to RGB"
        ) from error
    pixels: UInt8[np.ndarray, "height width 3"] = np.asarray(converted)
    is_wide = ";16" in raw_mode or (isinstance(bits, tuple) and bits[:1] == (16,))
    # Pillow keeps the upper 8 of 16 bits per channel
    return RgbImage(pixels, dark_notes((int(pixels.max()) << 8) | 255) if is_wide else ())


def _wide_array(image: Image.Image, *, bits: object, label: str) -> np.ndarray:
    """Convert grayscale of more than 8 bits; older Pillow versions store 16-bit PNGs as 32-bit integers."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        return values
    if values.min() < 0 or values.max() > MAX_16_BITS:
        raise ImageError(
            f"{label}: gray values from {values.min()} to {values.max()}, expected 0 to 65535; rescale them"
        )
    if bits in (12, (12,)):  # packed: the file says that 4095 is white
        return np.rint(values.astype(np.float64) * (MAX_16_BITS / 4095)).astype(np.uint16)
    return values.astype(np.uint16)
