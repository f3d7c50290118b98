"""Labelled photos to training crops: resize, crop, flip and colour jitter, the same for the same seed.

torchvision is imported where it is used: it takes seconds, and only training needs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ovrcoat.data.panoptic_folder import LabelledPhoto
from ovrcoat.structures import ImageBatch, Size
from ovrcoat.training.losses import UNNAMED, Targets

SMALLEST_MASK = 16  # pixels; less is left of an object than stride 4 can show


@dataclass(frozen=True, slots=True)
class Crop:
    """One training sample; pixels RGB 0..255, padded right and bottom to the crop size."""

    file_name: str
    pixels: Float[Tensor, "3 height width"]
    valid_size: Size
    targets: Targets


class Cropper:
    """Random crops of `size` × `size` pixels.

    The short side is first resized to between `scales[0]` and `scales[1]` times the crop, uniformly.
    """

    def __init__(self, size: int, *, scales: tuple[float, float], category_ids: Mapping[str, int]) -> None:
        from torchvision.transforms import v2

        self.size = size
        self.scales = scales
        self.category_ids = category_ids
        self.colour = v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05)

    def __call__(self, photo: LabelledPhoto) -> Crop:
        """Cut one crop with the current random state; a name that is in no category is unnamed."""
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as transforms

        pixels = torch.from_numpy(photo.pixels.copy()).permute(2, 0, 1)
        id_map = torch.from_numpy(photo.id_map)[None]
        low, high = self.scales
        short = round(self.size * (low + (high - low) * torch.rand(()).item()))
        height, width = photo.id_map.shape
        scale = short / min(height, width)
        size = [max(1, round(height * scale)), max(1, round(width * scale))]
        pixels = transforms.resize(pixels, size, antialias=True)
        id_map = transforms.resize(id_map, size, interpolation=InterpolationMode.NEAREST)
        top, left = (int(torch.randint(max(0, side - self.size) + 1, ())) for side in size)
        valid_size = (min(size[0], self.size), min(size[1], self.size))
        pixels = self.colour(transforms.crop(pixels, top, left, *valid_size))
        id_map = transforms.crop(id_map, top, left, *valid_size)
        if torch.rand(()) < 0.5:
            pixels, id_map = transforms.horizontal_flip(pixels), transforms.horizontal_flip(id_map)
        padding = [0, 0, self.size - valid_size[1], self.size - valid_size[0]]
        targets = self._targets(photo, transforms.pad(id_map, padding)[0])
        return Crop(photo.file_name, transforms.pad(pixels, padding).float(), valid_size, targets)

    def _targets(self, photo: LabelledPhoto, id_map: Int[Tensor, "height width"]) -> Targets:
        """Only the pixels of listed segments count as labelled: what a crowd holds apart, nobody has said."""
        masks, category_ids = [], []
        for segment_id, name in zip(photo.segment_ids, photo.names, strict=True):
            mask = id_map == segment_id
            if int(mask.sum()) >= SMALLEST_MASK:
                masks.append(mask)
                category_ids.append(self.category_ids.get(name, UNNAMED))
        labelled = torch.isin(id_map, torch.tensor(photo.segment_ids, dtype=id_map.dtype))
        empty = torch.zeros(0, *id_map.shape)
        return Targets(
            masks=torch.stack(masks).float() if masks else empty,
            category_ids=torch.tensor(category_ids, dtype=torch.long),
            labelled=labelled,
        )


def collate(
    crops: Sequence[Crop], *, device: torch.device | str = "cpu"
) -> tuple[ImageBatch, tuple[Targets, ...]]:
    """Stack crops of one size, on `device`."""
    batch = ImageBatch(
        pixels=torch.stack([crop.pixels for crop in crops]).to(device),
        valid_sizes=tuple(crop.valid_size for crop in crops),
    )
    targets = tuple(
        Targets(
            masks=crop.targets.masks.to(device),
            category_ids=crop.targets.category_ids.to(device),
            labelled=crop.targets.labelled.to(device),
        )
        for crop in crops
    )
    return batch, targets
