"""Several queries with nearly one mask: keep the best of them.

Not in the paper. A decoder with little training offers an object many times, and COAT, which trusts CLIP,
lifts all of these copies at once; they then share the object's pixels, and each loses so much of itself that
the overlap rule throws all of them away. Off for published weights.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def distinct(
    mask_logits: Float[Tensor, "query height width"], scores: Float[Tensor, " query"], *, duplicate_iou: float
) -> Bool[Tensor, " query"]:
    """Which queries to keep: by score, those whose mask has an IoU below `duplicate_iou` with all kept.

    Masks (logit > 0) are compared at their own resolution, stride 4, whatever their categories.
    """
    inside = (mask_logits > 0).flatten(1).float()
    areas = inside.sum(dim=1)
    overlaps = inside @ inside.T
    ious = overlaps / (areas[:, None] + areas - overlaps).clamp(min=1)
    rivals = (ious >= duplicate_iou).cpu()
    keep = torch.zeros(len(scores), dtype=torch.bool)
    for query in scores.argsort(descending=True, stable=True).tolist():
        keep[query] = not bool((rivals[query] & keep).any())
    return keep.to(mask_logits.device)
