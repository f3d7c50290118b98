"""Any source of an image in, upright 8-bit RGB out; and the search for images in folders and patterns.

First step of the path of an image. Knows no network and does not import torch.
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

if TYPE_CHECKING:
    import torch

MAX_PIXELS = 178_956_970  # where Pillow refuses by default (512 MiB of RGB); ours holds if that is off, too
_TOO_LARGE = f"more than the {MAX_PIXELS:,} pixels that are decoded; shrink the image or cut it up first"
# Formats that hold photos. Others that Pillow knows are drawings or start other programs (EPS: Ghostscript).
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB", "PPM", "TGA", "JPEG2000")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif"),
    *(".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2"),
)

OnError = Literal["raise", "skip", "yield"]  # what happens to an unreadable image among many

# The comment makes the pattern ours: an equal filter of the user's would be taken away with ours.
_PILLOW_MODULES = r"PIL\.(?#ignored by ovrcoat)"
_filter_lock = threading.Lock()
_readers = 0  # that need the filter just now


@runtime_checkable
class ReadableFile(Protocol):
    """An open binary file or anything else with its `read` method."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; -1: all."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image as its viewer sees it: upright, RGB in 0..255, read-only; `name` is its file's name, if any."""

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
    """Read an image from wherever it is.

    `source` is one of: a path; the bytes of a file or an open binary file; a `PIL.Image`; a NumPy array
    (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); a torch tensor (C, H, W) or (H, W, C) with 1, 3 or 4 channels
    (channels first if both fit). Arrays are RGB (not BGR) in uint8, in uint16 or in floating point from 0 to
    1; they are copied. EXIF rotation is applied. Of an animation the first frame is taken. 16 bits are
    scaled by 1/257. What is transparent is laid on white, as viewers and web pages show it: the colours that
    hide under transparent pixels are arbitrary and would become segments that nobody sees.

    Raises:
        ImageError: the source is missing, empty, damaged, no image, too large or of another kind.
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
        f"an image was expected, but a {type(source).__name__} came: give a path, bytes, an open file, "
        "a PIL.Image, a NumPy array or a torch tensor"
    )


def find_images(sources: str | PathLike[str] | Iterable[str | PathLike[str]]) -> tuple[Path, ...]:
    """The images that files, folders and glob patterns name, none twice.

    Sources keep the order given; what one folder or pattern gives is sorted. A folder gives the images that
    lie in it, not those of its subfolders: say `folder/**` for all. Folders and patterns give only names with
    one of `SUFFIXES`. A single file is taken as it is, even if it does not exist: reading it says what is
    wrong, and the other images are not lost.

    Raises:
        ImageError: a folder or a pattern gives nothing.
    """
    if isinstance(sources, str | PathLike):
        sources = (sources,)
    found: dict[Path, Path] = {}  # by resolved path, so that one image named in two ways comes once
    for source in sources:
        for path in _expand(str(source)):
            found.setdefault(path.resolve(), path)
    if not found:
        raise ImageError("no image was named: give files, folders or patterns such as 'photos/*.jpg'")
    return tuple(found.values())


@contextmanager
def pillow_warnings_ignored() -> Iterator[None]:
    """Ignore what Pillow's own modules warn of: odd metadata, and sizes that are an error here anyway.

    Unlike `warnings.catch_warnings` this may be used in several threads: leaving that puts back all filters
    as they were on entering, whatever other threads have set meanwhile. This takes its own filter away only.
    """
    global _readers  # noqa: PLW0603 - the filters are the process's, too
    with _filter_lock:
        _readers += 1
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES)  # again, it goes in front
        ours = warnings.filters[0]
    try:
        yield
    finally:
        with _filter_lock:
            _readers -= 1
            if not _readers:
                with suppress(ValueError):  # a catch_warnings that was left meanwhile took it along
                    cast("list[object]", warnings.filters).remove(ours)


def _expand(source: str) -> list[Path]:
    """One source of `find_images`: a folder's images, a pattern's images, or the file itself."""
    if _is_url(source):
        return [Path(source)]  # refused on reading
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
            f"{source}: this {kind} gives no image; looked for names ending in {' '.join(SUFFIXES)}"
        )
    return images


def _matches(pattern: str) -> list[Path]:
    """glob.glob, not Path.glob: only it takes absolute patterns, and skips hidden files."""
    return [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207


def _is_url(source: str) -> bool:
    """http://, s3:// and their like; also with the slash that Path swallows."""
    scheme, separator, _ = source.partition(":/")
    return bool(separator) and len(scheme) > 1 and scheme.isalnum()  # one letter is a Windows drive


def _file_name(path: object) -> str | None:
    """The last part of a path, if it is one."""
    return Path(path).name or None if isinstance(path, str | PathLike) else None


def _read_path(source: str | PathLike[str]) -> LoadedImage:
    label = str(source)
    if _is_url(label):
        raise ImageError(
            f"{label}: addresses on the net are not opened; download the image and give its path"
        )
    try:
        with Path(source).expanduser().open("rb") as file:
            return LoadedImage(_decode(file, label=label), Path(source).name)
    except FileNotFoundError as error:
        raise ImageError(f"{label}: there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise ImageError(
            f"{label}: this is a folder; give the images in it, e.g. through find_images"
        ) from error
    except (OSError, ValueError) as error:  # no permission, a name that cannot be one
        raise ImageError(
            f"{label}: the file cannot be opened ({error}); check its name and permissions"
        ) from error


def _read_bytes(source: Any) -> LoadedImage:
    """Bytes, or an open file's from where it stands to its end."""
    is_file = hasattr(source, "read")
    content = source.read() if is_file else source
    if isinstance(content, str):
        raise ImageError("the open file gives text, not bytes; open it with mode 'rb'")
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
        except Exception as error:  # decoders of damaged files raise anything
            raise ImageError(
                f"{label}: not an image that can be read ({', '.join(FORMATS)}) "
                "or damaged at its beginning; convert it to JPEG or PNG"
            ) from error
        if image.format not in FORMATS:
            raise ImageError(
                f"{label}: {image.format} files are not read; expected one of {', '.join(FORMATS)}: "
                "convert it to JPEG or PNG"
            )
        return _pillow_pixels(image, label=label)


def _pillow_pixels(image: Image.Image, *, label: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decode if need be, turn upright, make RGB. The size is checked before any pixel is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{label}: {_TOO_LARGE} ({image.width:,} × {image.height:,})")
    if image.width * image.height == 0:
        raise ImageError(f"{label}: the image has no pixels ({image.width} × {image.height})")
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except Exception as error:  # decoders of damaged files raise anything
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"{label}: the image is cut off or damaged ({reason}); copy or download it again"
        ) from error
    if upright.mode.startswith("I") or upright.mode == "F":
        return _array_pixels(_wide_array(upright, label=label), label=label)
    try:
        return np.asarray(_on_white(upright) if upright.has_transparency_data else upright.convert("RGB"))
    except ValueError as error:
        raise ImageError(
            f"{label}: images of mode {upright.mode} are not read ({error}); convert it to RGB"
        ) from error


def _on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image.convert("RGBA"))
    return page.convert("RGB")


def _wide_array(image: Image.Image, *, label: str) -> np.ndarray:
    """Grey of more than 8 bits; 32-bit integers hold 16-bit values (so older Pillow reads a 16-bit PNG)."""
    values = np.asarray(image)
    if values.dtype.kind == "f":
        return values
    if values.min() < 0 or values.max() > 65_535:
        raise ImageError(
            f"{label}: grey values from {values.min()} to {values.max()}, expected 0 to 65535; rescale them"
        )
    return values.astype(np.uint16)


def _tensor_array(tensor: Any) -> np.ndarray:
    """A tensor as array, channels last."""
    values = tensor.detach().cpu()
    if values.is_floating_point():
        values = values.float()  # NumPy has no bfloat16
    if values.ndim == 3 and values.shape[0] in (1, 3, 4):
        values = values.permute(1, 2, 0)
    return values.numpy()


def _array_pixels(array: Any, *, label: str = "the given array") -> UInt8[np.ndarray, "height width 3"]:
    """Check shape and values, make 8-bit RGB; a copy, so that the caller's later changes do no harm."""
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
        pixels = np.asarray(_on_white(Image.fromarray(pixels)))
    pixels = np.array(pixels, order="C")
    pixels.setflags(write=False)
    return pixels


def _to_bytes(array: np.ndarray, *, label: str) -> UInt8[np.ndarray, "..."]:
    """Values of any accepted type as 0..255, rounded."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise ImageError(
            f"{label} has type {array.dtype}, expected uint8, uint16 or floating point from 0 to 1"
        )
    if not (array.min() >= 0 and array.max() <= 1):  # written so that NaN fails too
        raise ImageError(
            f"{label} has values from {array.min():g} to {array.max():g}, expected floating point from 0 to "
            "1: divide by the largest possible value, or give uint8"
        )
    return np.rint(array * 255).astype(np.uint8)
