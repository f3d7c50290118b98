"""The published rule for the region that CLIP pools under a mask, shared by both CLIP families."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


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
