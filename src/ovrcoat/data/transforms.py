"""Resize images to the test resolution and batch images of one padded size.

Images of different padded sizes never share a batch. Padding takes part in attention, as in the released
code, so padding to a common size would make each image's result depend on the others in its batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch.nn import functional as F

from ovrcoat.data.images import LoadedImage
from ovrcoat.data.mask_files import UserMasks
from ovrcoat.structures import ImageBatch, Size


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """An image at its original size and at its test resolution, not yet padded.

    Attributes:
        image: the original image.
        resized: RGB at test resolution.
        stride: of the encoder.
        for_names: the same image for the network that names the masks, if that is another one.
        user_masks: the masks to name, if they come from a file.
    """

    image: LoadedImage
    resized: UInt8[np.ndarray, "_ _ 3"]
    stride: int
    for_names: "PreparedImage | None" = None
    user_masks: UserMasks | None = None

    @property
    def padded_size(self) -> Size:
        """Size of the network's input."""
        return padded_size(self.resized.shape[:2], stride=self.stride)

    @property
    def batch_key(self) -> tuple[Size, Size]:
        """Images with the same key may share a batch: their padded sizes are equal."""
        return self.padded_size, (self.for_names or self).padded_size

    @property
    def nbytes(self) -> int:
        """Memory of pixels and masks, in bytes."""
        arrays = {id(array): array.nbytes for array in (self.image.pixels, self.resized)}
        if self.for_names is not None:
            arrays[id(self.for_names.resized)] = self.for_names.resized.nbytes
        if self.user_masks is not None:
            arrays[id(self.user_masks.masks)] = self.user_masks.masks.nbytes
        return sum(arrays.values())


def prepare(image: LoadedImage, *, short_side: int, max_long_side: int, stride: int) -> PreparedImage:
    """Resize an image to its test resolution. `stride` is that of the encoder."""
    size = test_size(image.pixels.shape[:2], short_side=short_side, max_long_side=max_long_side)
    return PreparedImage(image, resize(image.pixels, size), stride)


def test_size(size: Size, *, short_side: int, max_long_side: int) -> Size:
    """Compute the size at which the network processes an image.

    Sides are rounded half up and are at least 1. Integer arithmetic avoids floating-point errors at halves.

    Args:
        size: (height, width) of the image in pixels.
        short_side: Length of the short side.
        max_long_side: Maximum length of the long side; takes precedence over `short_side`.
    """
    numerator, denominator = short_side, min(size)
    if max(size) * numerator > max_long_side * denominator:
        numerator, denominator = max_long_side, max(size)
    height, width = (max(1, (2 * side * numerator + denominator) // (2 * denominator)) for side in size)
    return height, width


def resize(pixels: UInt8[np.ndarray, "height width 3"], size: Size) -> UInt8[np.ndarray, "_ _ 3"]:
    """Resize with Pillow's bilinear filter (antialiased when shrinking), as in the published protocol."""
    if pixels.shape[:2] == size:
        return pixels
    height, width = size
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def padded_size(size: Size, *, stride: int) -> Size:
    """Round a size up to multiples of `stride`."""
    height, width = size
    return -(-height // stride) * stride, -(-width // stride) * stride


def batch_images(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, stride: int, device: torch.device | str = "cpu"
) -> ImageBatch:
    """Pad images at the right and bottom to multiples of the encoder's stride, and stack them.

    Raises:
        ValueError: there is no image, or the images have different padded sizes.
    """
    sizes = tuple((image.shape[0], image.shape[1]) for image in images)
    padded = {padded_size(size, stride=stride) for size in sizes}
    if len(padded) != 1:
        raise ValueError(f"expected images of one padded size, got {len(padded)}: {sorted(padded)}")
    on_cuda = torch.device(device).type == "cuda"
    # Transfer bytes, a quarter of the memory of floats. Pinned memory makes the transfer asynchronous.
    pixels = torch.zeros((len(images), *padded.pop(), 3), dtype=torch.uint8, pin_memory=on_cuda)
    for row, image, (height, width) in zip(pixels.numpy(), images, sizes, strict=True):
        row[:height, :width] = image
    # The memory layout stays channels-last, which makes convolutions faster.
    on_device = pixels.to(device, non_blocking=on_cuda).float().permute(0, 3, 1, 2)
    return ImageBatch(pixels=on_device, valid_sizes=sizes)


def mask_coverage(
    mask: Bool[np.ndarray, "height width"], *, valid: Size, padded: Size, grid: Size
) -> Float[torch.Tensor, "_ _"]:
    """Compute which share of each cell of a grid over the padded image a mask covers.

    The mask is resized and padded like its image.

    Args:
        mask: Mask of the original image.
        valid: Size of the resized image.
        padded: Size of the padded image.
        grid: Number of cells (rows, columns).

    Returns:
        Coverage of each cell, 0..1.
    """
    height, width = valid
    image = Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    canvas = torch.zeros(padded)
    canvas[:height, :width] = torch.tensor(np.asarray(image))
    return F.adaptive_avg_pool2d(canvas[None], grid)[0]
