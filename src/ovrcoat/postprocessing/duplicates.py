"""Mask non-maximum suppression: of several queries with nearly the same mask, keep the best.

Not part of the paper. A decoder with little training proposes the same object many times, and COAT raises the
objectness of all copies at once. They then share the object's pixels, each loses most of its mask, and the
overlap test rejects all of them. Disabled for published weights.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def mask_nms(
    mask_logits: Float[Tensor, "query height width"], scores: Float[Tensor, " query"], *, duplicate_iou: float
) -> Bool[Tensor, " query"]:
    """Return which queries to keep, by greedy suppression in order of score.

    A query is kept if the IoU of its mask (logit > 0, at stride 4) with every mask kept so far is below
    `duplicate_iou`. Categories are ignored.
    """
    inside = (mask_logits > 0).flatten(1).float()
    areas = inside.sum(dim=1)
    overlaps = inside @ inside.T
    ious = overlaps / (areas[:, None] + areas - overlaps).clamp(min=1)
    is_duplicate = (ious >= duplicate_iou).cpu()
    keep = torch.zeros(len(scores), dtype=torch.bool)
    for query in scores.argsort(descending=True, stable=True).tolist():
        keep[query] = not bool((is_duplicate[query] & keep).any())
    return keep.to(mask_logits.device)
