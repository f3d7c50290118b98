"""Which query answers for which target: Hungarian assignment on sampled points (Mask2Former, section 3.3)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

UNUSABLE = 1e6  # cost of a pair that is not a finite number: far above any real one


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the terms, in the matching cost and in the loss alike."""

    category: float = 2.0  # Mask2Former
    mask: float = 6.0  # OVRCOAT's released files; 5 in Mask2Former and FC-CLIP
    dice: float = 5.0  # Mask2Former
    void: float = 0.1  # of the void term inside the category loss (DETR)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Pairs of one photo: query `queries[i]` answers for target `targets[i]`; queries ascend."""

    queries: Int[Tensor, " pair"]
    targets: Int[Tensor, " pair"]


def sample_points(
    maps: Float[Tensor, "map height width"], points: Float[Tensor, "map point 2"]
) -> Float[Tensor, "map point"]:
    """Read maps at (x, y) fractions of width and height: bilinear, zero outside."""
    grid = (2 * points - 1)[:, :, None]  # map, point, 1, xy
    sampled = F.grid_sample(maps[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled[:, 0, :, 0]


@torch.no_grad()
def match(
    probabilities: Float[Tensor, "query pair_class"],
    mask_logits: Float[Tensor, "query height width"],
    target_masks: Float[Tensor, "target mask_height mask_width"],
    *,
    points: Float[Tensor, "point 2"],
    weights: LossWeights,
) -> Assignment:
    """Assign targets to queries at the least total cost.

    `probabilities[q, n]` is what query q gives to target n's category (void takes part in the softmax).
    All masks of the photo are compared at the same random `points`.
    """
    logits = sample_points(mask_logits, points.expand(len(mask_logits), -1, -1))
    truths = sample_points(target_masks, points.expand(len(target_masks), -1, -1))
    cost = (
        weights.mask * pairwise_cross_entropy(logits, truths)
        - weights.category * probabilities
        + weights.dice * pairwise_dice(logits, truths)
    )
    # an assignment over NaN is an error of scipy's; let it reach the loss, whose check names the photos
    cost = cost.nan_to_num(nan=UNUSABLE, posinf=UNUSABLE, neginf=UNUSABLE)
    queries, targets = linear_sum_assignment(cost.cpu().numpy())
    device = mask_logits.device
    return Assignment(
        queries=torch.as_tensor(queries, dtype=torch.long, device=device),
        targets=torch.as_tensor(targets, dtype=torch.long, device=device),
    )


def pairwise_cross_entropy(
    logits: Float[Tensor, "query point"], truths: Float[Tensor, "target point"]
) -> Float[Tensor, "query target"]:
    """Mean binary cross-entropy of every query against every target: softplus(x) - t·x, averaged."""
    return (F.softplus(logits).sum(dim=-1, keepdim=True) - logits @ truths.T) / logits.shape[-1]


def pairwise_dice(
    logits: Float[Tensor, "query point"], truths: Float[Tensor, "target point"]
) -> Float[Tensor, "query target"]:
    """1 - dice coefficient of every query against every target, with one added above and below."""
    inside = logits.sigmoid()
    sums = inside.sum(dim=-1, keepdim=True) + truths.sum(dim=-1)
    return 1 - (2 * inside @ truths.T + 1) / (sums + 1)
