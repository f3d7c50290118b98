"""Hungarian matching of queries to targets on sampled points (Mask2Former, section 3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.training.points import sample_masks, sample_shared_points

NOT_FINITE_COST = 1e6  # replaces NaN and infinite costs; far above any finite one
FORBIDDEN_COST = 1e5  # of a selected query and a target that does not contain its cell; above any finite cost


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the terms, used for both the matching cost and the loss."""

    category: float = 2.0  # Mask2Former
    mask: float = 6.0  # OVRCOAT's released files; 5 in Mask2Former and FC-CLIP
    dice: float = 5.0  # Mask2Former
    void: float = 0.1  # of the void term inside the category loss (DETR)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Matched pairs of one image: query `queries[i]` predicts target `targets[i]`. Queries are ascending."""

    queries: Int[Tensor, " pair"]
    targets: Int[Tensor, " pair"]


@dataclass(frozen=True, slots=True)
class MatchingCost:
    """Cost of matching each query to each target: the mask and dice parts, and the weighted total."""

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
    """Compute the matching cost of an image.

    Args:
        probabilities: each query's probability for each target's category, from a softmax that includes void.
        mask_logits: of all queries.
        target_masks: of all targets.
        points: (x, y) as fractions of width and height; all masks are compared at the same points.
        weights: of the parts.
    """
    logits = sample_shared_points(mask_logits, points)
    every = torch.arange(len(target_masks), device=target_masks.device)
    truths = sample_masks(target_masks, points[None], rows=every)
    mask, dice = pairwise_cross_entropy(logits, truths), pairwise_dice(logits, truths)
    total = weights.mask * mask - weights.category * probabilities + weights.dice * dice
    return MatchingCost(mask=mask, dice=dice, total=total)


def forbid(cost: MatchingCost, forbidden: Bool[Tensor, "selected target"]) -> MatchingCost:
    """Return the cost without the pairs that are forbidden for the last queries, the selected ones."""
    rows = F.pad(forbidden, (0, 0, len(cost.total) - len(forbidden), 0))
    return replace(cost, total=cost.total.masked_fill(rows, FORBIDDEN_COST))


def match(
    costs: Sequence[MatchingCost], *, queries_per_target: int = 1, selected: int = 0
) -> list[Assignment]:
    """Find the assignment with the lowest total cost, for each of `costs`.

    SciPy runs on the CPU. The costs of all images and predictions are copied there together, because each
    copy waits until the device has computed everything before it.

    Args:
        costs: of images.
        queries_per_target: maximum of the number of queries for each target, see `queries_for`.
        selected: number of selected queries, the last ones. They and the learned queries are matched
            separately: otherwise those that predict better, and only they, would be trained.
    """
    if not costs:
        return []
    # scipy raises for NaN. The trainer's check of the loss gives a better message, which names the images.
    totals = torch.cat([cost.total.flatten() for cost in costs])
    totals = totals.nan_to_num(nan=NOT_FINITE_COST, posinf=NOT_FINITE_COST, neginf=NOT_FINITE_COST)
    on_cpu = totals.cpu().split_with_sizes([cost.total.numel() for cost in costs])
    pairs = [
        torch.from_numpy(_pairs(total.view_as(cost.total).numpy(), queries_per_target, selected))
        for total, cost in zip(on_cpu, costs, strict=True)
    ]
    on_device = torch.cat(pairs, dim=1).to(totals.device)
    return [
        Assignment(queries=queries, targets=targets)
        for queries, targets in on_device.split_with_sizes([part.shape[1] for part in pairs], dim=1)
    ]


def queries_for(targets: int, *, queries: int, limit: int) -> int:
    """Return the number of queries for each target of an image, at least one.

    It is lower than `limit` if there are not enough queries, so that no target takes those of another.
    """
    return max(1, min(limit, queries // max(targets, 1)))


def _pairs(cost: np.ndarray, queries_per_target: int, selected: int) -> np.ndarray:
    """Return the matched queries and, in a second row, their targets."""
    learned = len(cost) - selected
    pairs = _group_pairs(cost[:learned], queries_per_target)
    if not selected:
        return pairs
    rows, targets = _group_pairs(cost[learned:], queries_per_target)
    allowed = cost[learned + rows, targets] != FORBIDDEN_COST
    return np.concatenate((pairs, np.stack((learned + rows, targets))[:, allowed]), axis=1)


def _group_pairs(cost: np.ndarray, queries_per_target: int) -> np.ndarray:
    """Return the pairs with the lowest total cost."""
    queries, targets = cost.shape
    repeated = np.tile(cost, queries_for(targets, queries=queries, limit=queries_per_target))
    rows, columns = linear_sum_assignment(repeated)
    return np.stack((rows, columns % max(targets, 1))).astype(np.int64)


def pairwise_cross_entropy(
    logits: Float[Tensor, "query point"], truths: Float[Tensor, "target point"]
) -> Float[Tensor, "query target"]:
    """Return the mean binary cross-entropy of each query and target: softplus(x) - t·x, averaged."""
    return (F.softplus(logits).sum(dim=-1, keepdim=True) - logits @ truths.T) / logits.shape[-1]


def pairwise_dice(
    logits: Float[Tensor, "query point"], truths: Float[Tensor, "target point"]
) -> Float[Tensor, "query target"]:
    """Return 1 - dice coefficient of each query and target, with one added to numerator and denominator."""
    inside = logits.sigmoid()
    sums = inside.sum(dim=-1, keepdim=True) + truths.sum(dim=-1)
    return 1 - (2 * inside @ truths.T + 1) / (sums + 1)
