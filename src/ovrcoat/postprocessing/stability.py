"""How far to trust CLIP about a mask, from the mask itself: its stability. The adaptive γ.

Not in the paper, whose γ is one number for all masks. CLIP is asked only what a mask shows: it is certain of
a blurred half of a cow too; a mask that hardly changes when its threshold moves is the outline of something.
Nothing is fitted: the offset is that of Segment Anything's stability score. Numbers: docs/adaptive-trust.md.
"""

import torch
from jaxtyping import Float
from torch import Tensor

OFFSET = 1.0  # of the logit's threshold, up and down (Segment Anything's automatic mask generator)


def stability(mask_logits: Float[Tensor, "query height width"]) -> Float[Tensor, " query"]:
    """IoU of each mask with itself between the thresholds -1 and 1 of its logit, 0..1; 0 for an empty one."""
    flat = mask_logits.flatten(1)
    inner, outer = (flat > OFFSET).sum(dim=1), (flat > -OFFSET).sum(dim=1)
    return inner.to(torch.float32) / outer.clamp(min=1)
