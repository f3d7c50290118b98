"""The published rule for the region that CLIP pools under a mask, shared by the CLIP families."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.model.mask_pooling import mask_pool


def resize_logits(
    mask_logits: Float[Tensor, "batch query _ _"], clip_features: Float[Tensor, "batch _ height width"]
) -> Float[Tensor, "batch query height width"]:
    """Resize mask logits to CLIP's feature map: bilinear, without corner alignment.

    A cell belongs to a mask where the resized logit is positive. A thin mask may have no cell at all. No
    gradient flows into the masks.
    """
    return F.interpolate(
        mask_logits.detach(), size=clip_features.shape[-2:], mode="bilinear", align_corners=False
    )


def pool_under_masks(
    clip_features: Float[Tensor, "batch channel _ _"],
    mask_logits: Float[Tensor, "batch query _ _"],
    *,
    dtype: torch.dtype,
) -> tuple[Float[Tensor, "batch query channel"], Bool[Tensor, "batch query"]]:
    """Average CLIP's features under each mask.

    Args:
        clip_features: CLIP's feature map.
        mask_logits: at a higher resolution.
        dtype: of the computation, that of the head: the map is small, and classification needs precision.

    Returns:
        The mean of the cells of each mask, and False for a mask that has no cell.
    """
    features = clip_features.to(dtype)
    inside = resize_logits(mask_logits, features) > 0
    return mask_pool(features, inside.to(dtype)), inside.flatten(2).any(dim=-1)
