"""Read images from any source as upright 8-bit RGB.

This is the first step of inference. It is independent of the network and does not import torch.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Union, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ovrcoat.data.decode import decode_file, decode_pillow
from ovrcoat.data.pixels import RgbImage, array_pixels, tensor_array
from ovrcoat.errors import ImageError
from ovrcoat.system.input_files import IMAGE, InputFileError, open_input
from ovrcoat.system.paths import expand_user, is_folder, printable

if TYPE_CHECKING:
    import torch

OnError = Literal["raise", "skip", "yield"]  # how to handle an unreadable image among many


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
        notes: What is unusual about the file, for example damaged metadata or a band that was ignored.
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    name: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The bytes of an image file that are fetched when the image is read, for example from a server.

    Attributes:
        name: shown in messages; the last part is the name of the image.
        fetch: returns the bytes; may be called in any thread. Raises `ImageError` if it cannot.
    """

    name: str
    fetch: Callable[[], bytes]


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
    StoredImage,
]


def read_image(source: ImageInput) -> LoadedImage:
    """Read an image from any supported source.

    EXIF rotation is applied. Of an animation, the first frame is used. 16-bit values are scaled by 1/257.
    Transparent pixels are composited onto white, as viewers and web pages show them: the colors stored under
    transparent pixels are arbitrary and would produce invisible segments.

    As in viewers, damaged metadata and a missing end marker do not matter as long as all pixels are complete.
    The `notes` of the image then say so.

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
    if isinstance(source, StoredImage):
        content = io.BytesIO(source.fetch())
        return _loaded(decode_file(content, label=printable(source.name)), _file_name(source.name))
    if isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "read"):
        return _read_bytes(source)
    if isinstance(source, Image.Image):
        label = f"the given {source.mode} image"
        name = _file_name(getattr(source, "filename", None))
        return _loaded(decode_pillow(source, label=label), name)
    is_tensor = type(source).__module__.split(".")[0] == "torch"  # known without importing torch
    if is_tensor or isinstance(source, np.ndarray):
        return _loaded(array_pixels(tensor_array(source) if is_tensor else source), None)
    raise ImageError(
        f"expected an image, got {type(source).__name__}: give a path, bytes, an open file, a PIL.Image, a "
        "NumPy array or a torch tensor"
    )


def warn_of_notes(notes: tuple[str, ...], name: str | None, *, stacklevel: int = 3) -> None:
    """Emit a `UserWarning` per note about an image.

    Args:
        notes: `LoadedImage.notes`, which results carry, too.
        name: name of the image.
        stacklevel: of `warnings.warn`, counted from here.
    """
    for note in notes:
        warnings.warn(f"{printable(name or 'the given image')}: {note}", UserWarning, stacklevel=stacklevel)


def is_url(source: str) -> bool:
    """Return whether a source is a URL (http://, s3://), also after Path has removed one slash."""
    scheme, separator, _ = source.partition(":/")
    return bool(separator) and len(scheme) > 1 and scheme.isalnum()  # one letter is a Windows drive


def _loaded(image: RgbImage, name: str | None) -> LoadedImage:
    return LoadedImage(image.pixels, name, image.notes)


def _file_name(path: object) -> str | None:
    """Return the last part of a path; None for anything else."""
    return Path(path).name or None if isinstance(path, str | PathLike) else None


def _read_path(source: str | PathLike[str]) -> LoadedImage:
    label = printable(source)
    if is_url(str(source)):
        raise ImageError(f"{label}: URLs are not supported; download the image and give its path")
    if str(source).startswith("data:") and "," in str(source):
        raise ImageError(f"{label}: data URIs are not supported; decode it and give the bytes of the file")
    path = expand_user(source)
    try:
        with open_input(path, IMAGE) as file:
            return _loaded(decode_file(file, label=label), path.name)
    except FileNotFoundError as error:
        reason = (
            "the link leads to a file that does not exist" if path.is_symlink() else "there is no such file"
        )
        raise ImageError(f"{label}: {reason}; check the path") from error
    except InputFileError as error:
        advice = "; give the images in it, for example with find_images" if is_folder(path) else ""
        raise ImageError(f"{label}: {error}{advice}") from error
    except OSError as error:  # no permission, links in a circle, a name that is too long
        raise ImageError(
            f"{label}: the file cannot be opened ({error.strerror or error}); check its name and permissions"
        ) from error


def _read_bytes(source: Any) -> LoadedImage:
    """Read bytes, or an open file from its current position to its end."""
    is_file = hasattr(source, "read")
    content = source.read() if is_file else source
    if isinstance(content, str):
        raise ImageError("the open file returns text, not bytes; open it with mode 'rb'")
    name = getattr(source, "name", None)
    label = "the open file" if is_file else "the given bytes"
    if is_file and isinstance(name, str | PathLike):  # it can also be a number, the descriptor
        label = printable(name)
    return _loaded(decode_file(io.BytesIO(content), label=label), _file_name(name))
