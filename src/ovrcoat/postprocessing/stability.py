"""Adaptive trust: γ per mask, from the stability of the mask itself.

Not part of the paper, whose γ is one number for all masks. CLIP judges only the pixels under a mask, so it
can be confident about a blurred half of a cow. A mask that hardly changes when its threshold moves follows a
real outline. Nothing is fitted: the offset is that of Segment Anything's stability score. Measurements:
docs/adaptive-trust.md.
"""

import torch
from jaxtyping import Float
from torch import Tensor

OFFSET = 1.0  # added to and subtracted from the logit threshold (Segment Anything's automatic mask generator)


def stability(mask_logits: Float[Tensor, "query height width"]) -> Float[Tensor, " query"]:
    """Return the IoU of each mask at the logit thresholds -1 and 1, in 0..1; 0 for an empty mask."""
    flat = mask_logits.flatten(1)
    # In place, the comparison keeps the dtype: without bool, a CPU counts more than twice as fast. A mask has
    # fewer than 2²⁴ pixels, so the sums are exact.
    inner, outer = (flat.clone().gt_(limit).sum(dim=1, dtype=torch.float32) for limit in (OFFSET, -OFFSET))
    return inner / outer.clamp(min=1)
