"""Read images from any source as upright 8-bit RGB, and find images in folders and by glob patterns.

This is the first step of inference. It is independent of the network and does not import torch.
"""

import glob
import io
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Union, cast, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from ovrcoat.errors import ImageError
from ovrcoat.formats.limits import MAX_PIXELS

if TYPE_CHECKING:
    import torch

_TOO_LARGE = f"more than {MAX_PIXELS:,} pixels, the limit for decoding; shrink or split the image"
# Other formats that Pillow knows are vector drawings or start other programs (EPS: Ghostscript).
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB", "PPM", "TGA", "JPEG2000")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif"),
    *(".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2"),
)

OnError = Literal["raise", "skip", "yield"]  # how to handle an unreadable image among many

# The comment makes the pattern unique; otherwise removing it could remove an equal filter of the user.
_PILLOW_MODULES = r"PIL\.(?#ignored by ovrcoat)"
_filter_lock = threading.Lock()
_readers = 0  # number of `with` blocks that currently need the filter


@runtime_checkable
class ReadableFile(Protocol):
    """An open binary file or anything else with its `read` method."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, or all if `size` is -1."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """A decoded image.

    Attributes:
        pixels: Upright RGB in 0..255, read-only.
        name: Name of its file, if it has one.
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    name: str | None = None


# What `read_image` accepts. The tensor is named by a string because this module does not import torch.
ImageInput = Union[
    str,
    PathLike[str],
    bytes,
    bytearray,
    memoryview,
    ReadableFile,
    Image.Image,
    np.ndarray,
    "torch.Tensor",
    LoadedImage,
]


def read_image(source: ImageInput) -> LoadedImage:
    """Read an image from any supported source.

    EXIF rotation is applied. Of an animation, the first frame is used. 16-bit values are scaled by 1/257.
    Transparent pixels are composited onto white, as viewers and web pages show them: the colors stored under
    transparent pixels are arbitrary and would produce invisible segments.

    Args:
        source: One of the following:

            - a path
            - the bytes of a file, or an open binary file
            - a `PIL.Image`
            - a NumPy array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
            - a torch tensor of shape (C, H, W) or (H, W, C) with 1, 3 or 4 channels; channels first if both
              interpretations are possible

            Arrays and tensors hold RGB (not BGR) as uint8, uint16, or floating point from 0 to 1. They are
            copied.

    Raises:
        ImageError: The source is missing, empty, damaged, not an image, too large or of an unsupported type.
    """
    if isinstance(source, LoadedImage):
        return source
    if isinstance(source, str | PathLike):
        return _read_path(source)
    if isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "read"):
        return _read_bytes(source)
    if isinstance(source, Image.Image):
        label = f"the given {source.mode} image"
        return LoadedImage(_pillow_pixels(source, label=label), _file_name(getattr(source, "filename", None)))
    is_tensor = type(source).__module__.split(".")[0] == "torch"  # known without importing torch
    if is_tensor or isinstance(source, np.ndarray):
        return LoadedImage(_array_pixels(_tensor_array(source) if is_tensor else source))
    raise ImageError(
        f"expected an image, got {type(source).__name__}: give a path, bytes, an open file, a PIL.Image, a "
        "NumPy array or a torch tensor"
    )


def find_images(sources: str | PathLike[str] | Iterable[str | PathLike[str]]) -> tuple[Path, ...]:
    """Find images by file names, folders and glob patterns, without duplicates.

    Args:
        sources: One or several files, folders or patterns. A folder stands for the images directly in it; use
            `folder/**` to include subfolders. Folders and patterns match only the suffixes in `SUFFIXES`.

    Returns:
        Paths in the order of `sources`; the images of one folder or pattern are sorted. Single files are
        returned even if they do not exist. Reading them reports the error without losing the other images.

    Raises:
        ImageError: A folder or a pattern contains no image, or `sources` is empty.
    """
    if isinstance(sources, str | PathLike):
        sources = (sources,)
    found: dict[Path, Path] = {}  # by resolved path, so that an image with two names is returned once
    for source in sources:
        for path in _expand(str(source)):
            found.setdefault(path.resolve(), path)
    if not found:
        raise ImageError("no image was given: give files, folders or patterns such as 'photos/*.jpg'")
    return tuple(found.values())


@contextmanager
def pillow_warnings_ignored() -> Iterator[None]:
    """Ignore Pillow's warnings about unusual metadata and about sizes that are an error here anyway.

    Unlike `warnings.catch_warnings`, this is thread-safe. `catch_warnings` restores all filters to their
    previous state and thereby discards changes by other threads; this removes only its own filter.
    """
    global _readers  # noqa: PLW0603 - the warning filters are global, too
    with _filter_lock:
        _readers += 1
        warnings.filterwarnings(
            "ignore", module=_PILLOW_MODULES
        )  # if it exists already, it moves to the front
        ours = warnings.filters[0]
    try:
        yield
    finally:
        with _filter_lock:
            _readers -= 1
            if not _readers:
                with suppress(ValueError):  # a `catch_warnings` block that ended meanwhile has removed it
                    cast("list[object]", warnings.filters).remove(ours)


def _expand(source: str) -> list[Path]:
    """Expand one source of `find_images`: a folder, a pattern, or a single file."""
    if _is_url(source):
        return [Path(source)]  # reading it raises an error
    path = Path(source).expanduser()
    if path.is_dir():
        kind, candidates = "folder", [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    elif glob.has_magic(source) and not path.exists():
        kind, candidates = "pattern", _matches(str(path))
    else:
        return [path]
    images = sorted(entry for entry in candidates if entry.suffix.lower() in SUFFIXES and entry.is_file())
    if not images:
        raise ImageError(
            f"{source}: no image found in this {kind}; looked for names ending in {' '.join(SUFFIXES)}"
        )
    return images


def _matches(pattern: str) -> list[Path]:
    """Expand a pattern. Unlike Path.glob, glob.glob accepts absolute patterns and skips hidden files."""
    return [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207


def _is_url(source: str) -> bool:
    """Return whether a source is a URL (http://, s3://), also after Path has removed one slash."""
    scheme, separator, _ = source.partition(":/")
    return bool(separator) and len(scheme) > 1 and scheme.isalnum()  # one letter is a Windows drive


def _file_name(path: object) -> str | None:
    """Return the last part of a path; None for anything else."""
    return Path(path).name or None if isinstance(path, str | PathLike) else None


def _read_path(source: str | PathLike[str]) -> LoadedImage:
    label = str(source)
    if _is_url(label):
        raise ImageError(f"{label}: URLs are not supported; download the image and give its path")
    try:
        with Path(source).expanduser().open("rb") as file:
            return LoadedImage(_decode(file, label=label), Path(source).name)
    except FileNotFoundError as error:
        raise ImageError(f"{label}: there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise ImageError(
            f"{label}: this is a folder; give the images in it, for example with find_images"
        ) from error
    except (OSError, ValueError) as error:  # no permission, or an invalid name
        raise ImageError(
            f"{label}: the file cannot be opened ({error}); check its name and permissions"
        ) from error


def _read_bytes(source: Any) -> LoadedImage:
    """Read bytes, or an open file from its current position to its end."""
    is_file = hasattr(source, "read")
    content = source.read() if is_file else source
    if isinstance(content, str):
        raise ImageError("the open file returns text, not bytes; open it with mode 'rb'")
    label = "the open file" if is_file else "the given bytes"
    return LoadedImage(_decode(io.BytesIO(content), label=label), _file_name(getattr(source, "name", None)))


def _decode(file: io.BytesIO | io.BufferedReader, *, label: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a file's content."""
    if not file.read(1):
        raise ImageError(f"{label}: the file is empty (0 bytes); copy or download it again")
    file.seek(0)
    with pillow_warnings_ignored():
        try:
            image = Image.open(file)
        except Image.DecompressionBombError as error:
            raise ImageError(f"{label}: {_TOO_LARGE} ({error})") from error
        except Exception as error:  # decoders raise all kinds of exceptions for damaged files
            raise ImageError(
                f"{label}: not an image in a supported format ({', '.join(FORMATS)}), or damaged at its "
                "beginning; convert it to JPEG or PNG"
            ) from error
        if image.format not in FORMATS:
            raise ImageError(
                f"{label}: {image.format} files are not supported; expected one of {', '.join(FORMATS)}: "
                "convert it to JPEG or PNG"
            )
        return _pillow_pixels(image, label=label)


def _pillow_pixels(image: Image.Image, *, label: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decode if necessary, apply EXIF rotation and convert to RGB; checks the size before decoding."""
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{label}: {_TOO_LARGE} ({image.width:,} × {image.height:,})")
    if image.width * image.height == 0:
        raise ImageError(f"{label}: the image has no pixels ({image.width} × {image.height})")
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except Exception as error:  # decoders raise all kinds of exceptions for damaged files
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"{label}: the image is truncated or damaged ({reason}); copy or download it again"
        ) from error
    if upright.mode.startswith("I") or upright.mode == "F":
        return _array_pixels(_wide_array(upright, label=label), label=label)
    try:
        return np.asarray(
            _composite_on_white(upright) if upright.has_transparency_data else upright.convert("RGB")
        )
    except ValueError as error:
        raise ImageError(
            f"{label}: images of mode {upright.mode} are not supported ({error}); convert it to RGB"
        ) from error


def _composite_on_white(image: Image.Image) -> Image.Image:
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image.convert("RGBA"))
    return background.convert("RGB")


def _wide_array(image: Image.Image, *, label: str) -> np.ndarray:
    """Convert grayscale of more than 8 bits; older Pillow versions store 16-bit PNGs as 32-bit integers."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        return values
    if values.min() < 0 or values.max() > 65_535:
        raise ImageError(
            f"{label}: gray values from {values.min()} to {values.max()}, expected 0 to 65535; rescale them"
        )
    return values.astype(np.uint16)


def _tensor_array(tensor: Any) -> np.ndarray:
    """Convert a tensor to an array with channels last."""
    values = tensor.detach().cpu()
    if values.is_floating_point():
        values = values.float()  # NumPy has no bfloat16
    if values.ndim == 3 and values.shape[0] in (1, 3, 4):
        values = values.permute(1, 2, 0)
    return values.numpy()


def _array_pixels(array: Any, *, label: str = "the given array") -> UInt8[np.ndarray, "height width 3"]:
    """Check shape and values, and convert to 8-bit RGB; copied, so that later changes have no effect."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = "; for channels first use .transpose(1, 2, 0)" if array.ndim == 3 else ""
        raise ImageError(
            f"{label} has shape {array.shape}, expected (height, width) or (height, width, 1, 3 or 4){hint}"
        )
    if array.size == 0:
        raise ImageError(f"{label} has shape {array.shape}: no pixels")
    pixels = _to_bytes(array, label=label)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.shape[2] == 4:
        pixels = np.asarray(_composite_on_white(Image.fromarray(pixels)))
    pixels = np.array(pixels, order="C")
    pixels.setflags(write=False)
    return pixels


def _to_bytes(array: np.ndarray, *, label: str) -> UInt8[np.ndarray, "..."]:
    """Convert values of any supported type to 0..255, rounded."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise ImageError(
            f"{label} has type {array.dtype}, expected uint8, uint16 or floating point from 0 to 1"
        )
    if not (array.min() >= 0 and array.max() <= 1):  # this form also rejects NaN
        raise ImageError(
            f"{label} has values from {array.min():g} to {array.max():g}, expected floating point from 0 to "
            "1: divide by the largest possible value, or give uint8"
        )
    return np.rint(array * 255).astype(np.uint8)
