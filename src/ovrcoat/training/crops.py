"""Labelled images to training crops: resize, crop, flip and colour jitter, the same for the same seed.

torchvision is imported where it is used: it takes seconds, and only training needs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ovrcoat.data.truth import PanopticTruth
from ovrcoat.structures import ImageBatch, Size
from ovrcoat.training.config import CropConfig
from ovrcoat.training.losses import UNNAMED, Targets

SMALLEST_MASK = 16  # pixels; less is left of an object than stride 4 can show


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """An image with its truth. `all_labelled`: a pixel without segment is known to be void.

    `name_number`: of what the whole image shows, among the names of named photos.
    """

    name: str
    pixels: UInt8[np.ndarray, "height width 3"]
    truth: PanopticTruth
    all_labelled: bool
    name_number: int = UNNAMED


@dataclass(frozen=True, slots=True)
class Crop:
    """One training sample; pixels RGB 0..255, padded right and bottom to the crop size.

    `seed` is that of all that is random about it; the losses go on with it. `name_number` is the image's.
    """

    name: str
    pixels: Float[Tensor, "3 height width"]
    valid_size: Size
    targets: Targets
    seed: int = 0
    name_number: int = UNNAMED


class Cropper:
    """Random crops; `category_numbers`: a data set's category id → place in the training vocabulary."""

    def __init__(self, settings: CropConfig, *, category_numbers: Mapping[int, int]) -> None:
        from torchvision.transforms import v2

        self.settings = settings
        self.category_numbers = category_numbers
        self.colour = v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05)

    def __call__(self, image: LabelledImage) -> Crop:
        """Cut one crop with the current random state; a category that has no number is unnamed."""
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as transforms

        edge = self.settings.size
        pixels = torch.from_numpy(image.pixels.copy()).permute(2, 0, 1)
        id_map = torch.from_numpy(image.truth.id_map.copy())[None]
        size = self._random_size(image.truth.id_map.shape)
        top, left = (int(torch.randint(max(0, side - edge) + 1, ())) for side in size)
        valid_size = (min(size[0], edge), min(size[1], edge))
        pixels = transforms.crop(transforms.resize(pixels, size, antialias=True), top, left, *valid_size)
        id_map = transforms.resize(id_map, size, interpolation=InterpolationMode.NEAREST_EXACT)
        id_map = transforms.crop(id_map, top, left, *valid_size)
        if self.settings.colour_jitter:
            pixels = self.colour(pixels)
        if self.settings.flip and torch.rand(()) < 0.5:
            pixels, id_map = transforms.horizontal_flip(pixels), transforms.horizontal_flip(id_map)
        padding = [0, 0, edge - valid_size[1], edge - valid_size[0]]
        targets = self._targets(image, transforms.pad(id_map, padding)[0], valid_size)
        padded = transforms.pad(pixels, padding).float()
        return Crop(image.name, padded, valid_size, targets, name_number=image.name_number)

    def _random_size(self, shape: tuple[int, ...]) -> list[int]:
        """Height and width of the resized photo."""
        low, high = self.settings.scales
        wanted = self.settings.size * (low + (high - low) * torch.rand(()).item())
        edge = min(shape) if self.settings.fit == "short side" else max(shape)
        return [max(1, round(side * wanted / edge)) for side in shape]

    def _targets(self, image: LabelledImage, id_map: Int[Tensor, "height width"], valid: Size) -> Targets:
        """Masks of what is left of the segments. Nobody has said what a crowd or the padding holds."""
        masks, numbers, crowds = [], [], []
        for segment in image.truth.segments:
            if segment.is_crowd:
                crowds.append(segment.id)
                continue
            mask = id_map == segment.id
            if int(mask.sum()) >= SMALLEST_MASK:
                masks.append(mask)
                numbers.append(self.category_numbers.get(segment.category_id, UNNAMED))
        labelled = torch.zeros_like(id_map, dtype=torch.bool)
        inside = id_map[: valid[0], : valid[1]]
        unknown = torch.tensor(crowds if image.all_labelled else [*crowds, 0], dtype=id_map.dtype)
        labelled[: valid[0], : valid[1]] = ~torch.isin(inside, unknown)
        return Targets(
            masks=torch.stack(masks) if masks else torch.zeros(0, *id_map.shape, dtype=torch.bool),
            category_ids=torch.tensor(numbers, dtype=torch.long),
            labelled=labelled,
        )


def collate(
    crops: Sequence[Crop], *, device: torch.device | str = "cpu"
) -> tuple[ImageBatch, tuple[Targets, ...]]:
    """Stack crops of one size, on `device`; channels stay last in memory."""
    pixels = torch.stack([crop.pixels for crop in crops])
    batch = ImageBatch(
        pixels=pixels.to(device, non_blocking=True, memory_format=torch.channels_last),
        valid_sizes=tuple(crop.valid_size for crop in crops),
    )
    targets = tuple(
        Targets(
            masks=crop.targets.masks.to(device, non_blocking=True),
            category_ids=crop.targets.category_ids.to(device, non_blocking=True),
            labelled=crop.targets.labelled.to(device, non_blocking=True),
        )
        for crop in crops
    )
    return batch, targets
