"""Convert arrays and tensors of any supported type to 8-bit RGB."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ovrcoat.errors import ImageError

MAX_16_BITS = 65_535
# The depths of sensors that store their values in 16 bits. A real image rarely stays below a quarter.
_SENSOR_BITS = (8, 10, 12, 14)


class RgbImage(NamedTuple):
    """Upright RGB pixels, and what is unusual about their source."""

    pixels: UInt8[np.ndarray, "height width 3"]
    notes: tuple[str, ...] = ()


def tensor_array(tensor: Any) -> np.ndarray:
    """Convert a tensor to an array with channels last."""
    values = tensor.detach().cpu()
    if values.is_floating_point():
        values = values.float()  # NumPy has no bfloat16
    if values.ndim == 3 and values.shape[0] in (1, 3, 4):
        values = values.permute(1, 2, 0)
    return values.numpy()


def array_pixels(array: Any, *, label: str = "the given array") -> RgbImage:
    """Check shape and values, and convert to 8-bit RGB; copied, so that later changes have no effect.

    Raises:
        ImageError: The shape, the type or a value is not supported; the message starts with `label`.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = "; for channels first use .transpose(1, 2, 0)" if array.ndim == 3 else ""
        raise ImageError(
            f"{label} has shape {array.shape}, expected (height, width) or (height, width, 1, 3 or 4){hint}"
        )
    if array.size == 0:
        raise ImageError(f"{label} has shape {array.shape}: no pixels")
    notes: tuple[str, ...] = ()
    if array.dtype == np.uint16:
        colors = array[..., :3] if array.ndim == 3 else array
        notes = dark_notes(int(colors.max()))
    pixels = _to_bytes(array, label=label)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.shape[2] == 4:
        pixels = np.asarray(composite_on_white(Image.fromarray(pixels)))
    pixels = np.array(pixels, order="C")
    pixels.setflags(write=False)
    return RgbImage(pixels, notes)


def composite_on_white(image: Image.Image) -> Image.Image:
    """Composite an image with transparency onto white."""
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image.convert("RGBA"))
    return background.convert("RGB")


def dark_notes(brightest: int) -> tuple[str, ...]:
    """Return a note if 16-bit values stay in a small part of their range, as those of many cameras do.

    Args:
        brightest: the largest value, 0..65535. 0 gives no note: the image is black.
    """
    bits = next((bits for bits in _SENSOR_BITS if brightest < 1 << bits), None)
    if bits is None or brightest == 0:
        return ()
    return (
        f"its 16-bit values reach at most {brightest:,} of {MAX_16_BITS:,}, so the image is dark; if they "
        f"hold {bits}-bit data, multiply them by {1 << 16 - bits}",
    )


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
