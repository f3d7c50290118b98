"""Mean of a feature map under each mask, and the masks for it."""

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-8  # gives zero instead of NaN for an empty mask (FC-CLIP's released code)


def mask_pool(
    features: Float[Tensor, "batch channel height width"], masks: Float[Tensor, "batch query height width"]
) -> Float[Tensor, "batch query channel"]:
    """Average `features` under each mask (weights 0..1). The result of an empty mask is zero."""
    if features.dtype == torch.float16:  # the area of a large mask overflows, and the epsilon is zero
        return mask_pool(features.float(), masks.float()).half()
    flat = masks.flatten(2)
    total = flat @ features.flatten(2).transpose(1, 2)
    return total / (flat.sum(dim=-1, keepdim=True) + EPSILON)


def inside_masks(
    mask_logits: Float[Tensor, "batch query height width"], *, dtype: torch.dtype
) -> Float[Tensor, "batch query height width"]:
    """Return 1 where a logit is positive, and 0 elsewhere. No gradient flows into the masks."""
    # In place, the comparison keeps the dtype. On a CPU, the detour through bool takes ten times as long.
    return mask_logits.detach().clone().gt_(0).to(dtype)
