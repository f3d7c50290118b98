"""Overlap of the decoder's masks with given regions, in bounded memory."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.postprocessing.upsampling import ImageSizes, upsample_tiles


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Pixel counts of masks (probability at least 0.5) and regions; pixels of no region are not counted.

    Attributes:
        shared: pixels that each mask shares with each region.
        regions: pixels of each region.
    """

    shared: Int64[np.ndarray, "query region"]
    regions: Int64[np.ndarray, " region"]

    def ious(self) -> Float[np.ndarray, "query region"]:
        """Return intersection over union, 0..1, 0 for empty regions.

        Pixels of no region are left out of the union, as in panoptic quality.
        """
        union = self.shared.sum(axis=1, keepdims=True) + self.regions - self.shared
        return self.shared / np.maximum(union, 1)


def mask_overlaps(
    mask_logits: Float[Tensor, "query height width"],
    sizes: ImageSizes,
    region_map: Int32[np.ndarray, "image_height image_width"],
    *,
    region_count: int,
) -> Overlaps:
    """Count the pixels that each mask shares with each region.

    Args:
        mask_logits: logits at stride 4; a pixel is inside a mask from logit 0.
        sizes: `region_map` has the size `sizes.output`.
        region_map: region index 0..`region_count` - 1 per pixel; -1 where there is no region.
        region_count: number of regions.
    """
    device = mask_logits.device
    shared = torch.zeros(len(mask_logits), region_count + 1, dtype=torch.int64, device=device)
    indices = torch.from_numpy(np.where(region_map < 0, region_count, region_map).astype(np.int64))
    for rows, logits in upsample_tiles(mask_logits, sizes, channels=2 * len(mask_logits) + region_count):
        regions_here = indices[rows].flatten().to(device)
        inside = (logits >= 0).flatten(1).float()
        of_region = F.one_hot(regions_here, region_count + 1).float()
        shared += (inside @ of_region).long()  # exact: a tile has fewer than 2²⁴ pixels
    regions = np.bincount(indices.flatten().numpy(), minlength=region_count + 1)
    return Overlaps(shared=shared[:, :region_count].cpu().numpy(), regions=regions[:region_count])
