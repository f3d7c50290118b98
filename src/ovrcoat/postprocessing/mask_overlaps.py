"""How masks overlap given regions, in bounded memory: which mask could have been which segment?"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.postprocessing.upsampling import ImageSizes, upsample_tiles


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Pixels that masks (probability at least 0.5) share with regions; pixels of no region count nowhere."""

    shared: Int64[np.ndarray, "query region"]
    regions: Int64[np.ndarray, " region"]  # pixels of each region

    def ious(self) -> Float[np.ndarray, "query region"]:
        """Intersection over union, 0 for an empty region; pixels of no region leave the union, as in PQ."""
        union = self.shared.sum(axis=1, keepdims=True) + self.regions - self.shared
        return self.shared / np.maximum(union, 1)


def mask_overlaps(
    mask_logits: Float[Tensor, "query height width"],
    sizes: ImageSizes,
    region_map: Int32[np.ndarray, "photo_height photo_width"],
    *,
    region_count: int,
) -> Overlaps:
    """Count for each mask and each region 0..`region_count` - 1 of `region_map` (-1: none) their pixels.

    `region_map` has the size `sizes.output`.
    """
    device = mask_logits.device
    shared = torch.zeros(len(mask_logits), region_count + 1, dtype=torch.int64, device=device)
    numbers = torch.from_numpy(np.where(region_map < 0, region_count, region_map).astype(np.int64))
    for rows, logits in upsample_tiles(mask_logits, sizes, channels=2 * len(mask_logits) + region_count):
        here = numbers[rows].flatten().to(device)
        inside = (logits >= 0).flatten(1).float()
        of_region = F.one_hot(here, region_count + 1).float()
        shared += (inside @ of_region).long()  # exact: a tile has fewer than 2²⁴ pixels
    regions = np.bincount(numbers.flatten().numpy(), minlength=region_count + 1)
    return Overlaps(shared=shared[:, :region_count].cpu().numpy(), regions=regions[:region_count])
