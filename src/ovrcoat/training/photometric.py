"""Photometric augmentation: gray, dark, blurred and strongly compressed crops; labels do not change."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ovrcoat.training.augmentation_config import PhotometricConfig
from ovrcoat.training.crops import Crop

# Ranges of the changes; chosen by eye on training images, not by measurement.
GAMMA = (1.2, 2.5)  # above 1: dark tones become darker
EXPOSURE = (0.2, 0.8)
NOISE = 6.0  # largest standard deviation, of 0..255
BLUR = (0.5, 2.0)  # standard deviation, pixels
QUALITY = (15.0, 60.0)  # of JPEG
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Photometric:
    """Applies each change with its probability, inside the image and not in its padding."""

    def __init__(self, settings: PhotometricConfig) -> None:
        self.settings = settings

    def __call__(self, crop: Crop) -> Crop:
        """Change one crop with the current random state."""
        # All four are drawn, whatever the settings, so one probability does not change the other draws.
        dark, blur, jpeg, gray = (torch.rand(4) < torch.tensor(self._probabilities())).tolist()
        if not (dark or blur or jpeg or gray):
            return crop
        height, width = crop.valid_size
        inside = crop.pixels[:, :height, :width]
        for selected, change in ((dark, darken), (blur, soften), (jpeg, compress), (gray, remove_color)):
            inside = change(inside) if selected else inside
        pixels = torch.zeros_like(crop.pixels)
        pixels[:, :height, :width] = inside
        return replace(crop, pixels=pixels)

    def _probabilities(self) -> list[float]:
        settings = self.settings
        return [settings.dark, settings.blur, settings.jpeg, settings.gray]


def darken(pixels: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Darken as at night: a gamma, less light, and noise. Values are 0..255."""
    exposed = (pixels / 255).pow(_between(*GAMMA)) * (255 * _between(*EXPOSURE))
    noise = torch.randn_like(pixels) * _between(0.0, NOISE)
    return (exposed + noise).clamp(0, 255)


def soften(pixels: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Blur with a Gaussian."""
    return blurred(pixels, sigma=_between(*BLUR))


def compress(pixels: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Compress with JPEG and decode again."""
    content = BytesIO()
    image = Image.fromarray(pixels.round().to(torch.uint8).permute(1, 2, 0).numpy())
    image.save(content, "JPEG", quality=round(_between(*QUALITY)))
    decoded = np.array(Image.open(content, formats=("JPEG",)))
    return torch.from_numpy(decoded).permute(2, 0, 1).to(pixels.dtype)


def remove_color(pixels: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
    """Keep only the brightness, in all three channels."""
    gray = (pixels * pixels.new_tensor(LUMA)[:, None, None]).sum(dim=0, keepdim=True)
    return gray.expand_as(pixels)


def blurred(maps: Float[Tensor, "channel height width"], *, sigma: float) -> Float[Tensor, "channel _ _"]:
    """Apply a Gaussian blur whose kernel reaches three standard deviations; edges are repeated."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=maps.dtype)
    kernel = (-0.5 * (offsets / sigma) ** 2).exp()
    kernel = kernel / kernel.sum()
    padded = torch.nn.functional.pad(maps[:, None], [radius] * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, kernel[None, None, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, :, None])[:, 0]


def _between(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()
