"""The mean of a feature map under each mask."""

from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-8  # keeps an empty mask at zero instead of NaN (FC-CLIP's released code)


def mask_pool(
    features: Float[Tensor, "batch channel height width"], masks: Float[Tensor, "batch query height width"]
) -> Float[Tensor, "batch query channel"]:
    """Average `features` under `masks` (weights 0..1); an empty mask gives zeros."""
    flat = masks.flatten(2)
    total = flat @ features.flatten(2).transpose(1, 2)
    return total / (flat.sum(dim=-1, keepdim=True) + EPSILON)
