"""Mask non-maximum suppression: of several queries whose masks overlap strongly, keep the best.

Not part of the paper. A decoder with little training proposes the same object many times, and COAT raises the
objectness of all copies at once. They then share the object's pixels, each loses most of its mask, and the
overlap test rejects all of them. Disabled for published weights.
"""

from jaxtyping import Float
from torch import Tensor


def mask_nms(
    mask_logits: Float[Tensor, "query height width"], scores: Float[Tensor, " query"], *, duplicate_iou: float
) -> list[int | None]:
    """Return for each query which better query it duplicates; None for the queries to keep.

    Greedy suppression in order of score: a query is kept if the IoU of its mask (logit > 0, at stride 4) with
    every mask kept so far is below `duplicate_iou`. Categories are ignored. A query that is not kept
    duplicates the kept query with the highest score of those that overlap it so strongly.
    """
    inside = mask_logits.clone().gt_(0).flatten(1).float()  # in place: no slow detour through bool
    areas = inside.sum(dim=1)
    overlaps = inside @ inside.T
    ious = overlaps / (areas[:, None] + areas - overlaps).clamp(min=1)
    is_duplicate = (ious >= duplicate_iou).cpu().tolist()
    kept: list[int] = []
    duplicate_of: list[int | None] = [None] * len(scores)
    for query in scores.argsort(descending=True, stable=True).tolist():
        duplicate_of[query] = next((better for better in kept if is_duplicate[query][better]), None)
        if duplicate_of[query] is None:
            kept.append(query)
    return duplicate_of
