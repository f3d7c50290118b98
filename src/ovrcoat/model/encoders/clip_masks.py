"""Where CLIP sees a mask: the published rule that both CLIP families share."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def resize_logits(
    mask_logits: Float[Tensor, "batch query _ _"], dense: Float[Tensor, "batch _ height width"]
) -> Float[Tensor, "batch query height width"]:
    """Resize mask logits to CLIP's dense map (bilinear, no corner alignment); a mask is where they exceed 0.

    A thin mask may keep no pixel there. No gradient flows into the masks.
    """
    return F.interpolate(mask_logits.detach(), size=dense.shape[-2:], mode="bilinear", align_corners=False)
