"""Which query answers for which target: Hungarian assignment on sampled points (Mask2Former, section 3.3)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.training.points import sample_masks, sample_shared_points

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
    """Pairs of one image: query `queries[i]` answers for target `targets[i]`; queries ascend."""

    queries: Int[Tensor, " pair"]
    targets: Int[Tensor, " pair"]


@dataclass(frozen=True, slots=True)
class MatchingCost:
    """What every query would cost as the answer for every target: two of its parts, and the weighted sum."""

    mask: Float[Tensor, "query target"]
    dice: Float[Tensor, "query target"]
    total: Float[Tensor, "query target"]


@torch.no_grad()
def matching_cost(
    probabilities: Float[Tensor, "query target"],
    mask_logits: Float[Tensor, "query height width"],
    target_masks: Bool[Tensor, "target mask_height mask_width"],
    *,
    points: Float[Tensor, "point 2"],
    weights: LossWeights,
) -> MatchingCost:
    """Compare all masks of an image at the same `points`.

    `probabilities[q, n]` is what query q gives to target n's category (void takes part in the softmax).
    """
    logits = sample_shared_points(mask_logits, points)
    every = torch.arange(len(target_masks), device=target_masks.device)
    truths = sample_masks(target_masks, points[None], rows=every)
    mask, dice = pairwise_cross_entropy(logits, truths), pairwise_dice(logits, truths)
    total = weights.mask * mask - weights.category * probabilities + weights.dice * dice
    return MatchingCost(mask=mask, dice=dice, total=total)


def match(cost: MatchingCost) -> Assignment:
    """Assign targets to queries at the least total cost."""
    # an assignment over NaN is an error of scipy's; let it reach the loss, whose check names the images
    total = cost.total.nan_to_num(nan=UNUSABLE, posinf=UNUSABLE, neginf=UNUSABLE)
    queries, targets = linear_sum_assignment(total.cpu().numpy())
    return Assignment(
        queries=torch.as_tensor(queries, dtype=torch.long, device=total.device),
        targets=torch.as_tensor(targets, dtype=torch.long, device=total.device),
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
