"""Random crops of labeled images: resizing, cropping, flipping and color jitter, deterministic for a seed.

torchvision is imported inside functions: the import takes seconds, and only training needs it.
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

MIN_MASK_AREA = 16  # pixels: one pixel at stride 4, the resolution of the mask logits


@dataclass(frozen=True, slots=True, eq=False)
class LabeledImage:
    """An image with its ground truth.

    Attributes:
        name: path of the image in its dataset.
        pixels: RGB.
        truth: its segments.
        all_labeled: whether a pixel outside all segments is void (True) or unknown (False).
    """

    name: str
    pixels: UInt8[np.ndarray, "height width 3"]
    truth: PanopticTruth
    all_labeled: bool


@dataclass(frozen=True, slots=True)
class Crop:
    """A training sample.

    Attributes:
        name: path of its image in the dataset.
        pixels: RGB, 0 to 255, padded at the right and bottom to the crop size.
        valid_size: height and width without padding.
        targets: ground truth.
        seed: of all randomness of the sample; the losses use it to choose points.
        skipped: why images that were drawn before this one were skipped, one message each.
    """

    name: str
    pixels: Float[Tensor, "3 height width"]
    valid_size: Size
    targets: Targets
    seed: int = 0
    skipped: tuple[str, ...] = ()


class Cropper:
    """Cuts random crops.

    Args:
        settings: size, scales and augmentation.
        category_map: category id in the dataset → index in the training vocabulary.
    """

    def __init__(self, settings: CropConfig, *, category_map: Mapping[int, int]) -> None:
        from torchvision.transforms import v2

        self.settings = settings
        self.category_map = category_map
        self.color_jitter = v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05)

    def __call__(self, image: LabeledImage) -> Crop:
        """Cut one crop, using torch's global random state."""
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
        if self.settings.color_jitter:
            pixels = self.color_jitter(pixels)
        if self.settings.flip and torch.rand(()) < 0.5:
            pixels, id_map = transforms.horizontal_flip(pixels), transforms.horizontal_flip(id_map)
        padding = [0, 0, edge - valid_size[1], edge - valid_size[0]]
        targets = self._targets(image, transforms.pad(id_map, padding)[0], valid_size)
        return Crop(image.name, transforms.pad(pixels, padding).float(), valid_size, targets)

    def _random_size(self, shape: tuple[int, ...]) -> list[int]:
        """Height and width of the resized image."""
        low, high = self.settings.scales
        target = self.settings.size * (low + (high - low) * torch.rand(()).item())
        edge = min(shape) if self.settings.fit == "short side" else max(shape)
        return [max(1, round(side * target / edge)) for side in shape]

    def _targets(self, image: LabeledImage, id_map: Int[Tensor, "height width"], valid: Size) -> Targets:
        """Masks of the segments in the crop. Crowd regions and padding count as unlabeled."""
        masks, category_ids, crowds = [], [], []
        for segment in image.truth.segments:
            if segment.is_crowd:
                crowds.append(segment.id)
                continue
            mask = id_map == segment.id
            if int(mask.sum()) >= MIN_MASK_AREA:
                masks.append(mask)
                category_ids.append(self.category_map.get(segment.category_id, UNNAMED))
        labeled = torch.zeros_like(id_map, dtype=torch.bool)
        inside = id_map[: valid[0], : valid[1]]
        unknown = torch.tensor(crowds if image.all_labeled else [*crowds, 0], dtype=id_map.dtype)
        labeled[: valid[0], : valid[1]] = ~torch.isin(inside, unknown)
        return Targets(
            masks=torch.stack(masks) if masks else torch.zeros(0, *id_map.shape, dtype=torch.bool),
            category_ids=torch.tensor(category_ids, dtype=torch.long),
            labeled=labeled,
        )


def collate(
    crops: Sequence[Crop], *, device: torch.device | str = "cpu"
) -> tuple[ImageBatch, tuple[Targets, ...]]:
    """Stack crops of one size and move them to `device`; pixels are in channels-last memory format."""
    pixels = torch.stack([crop.pixels for crop in crops])
    batch = ImageBatch(
        pixels=pixels.to(device, non_blocking=True, memory_format=torch.channels_last),
        valid_sizes=tuple(crop.valid_size for crop in crops),
    )
    targets = tuple(
        Targets(
            masks=crop.targets.masks.to(device, non_blocking=True),
            category_ids=crop.targets.category_ids.to(device, non_blocking=True),
            labeled=crop.targets.labeled.to(device, non_blocking=True),
        )
        for crop in crops
    )
    return batch, targets
