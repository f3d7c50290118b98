"""The segmentation loss: category, mask and dice for every prediction of the mask decoder.

Partly labelled photos: a query that nothing was assigned to is told "void" only as far as its mask lies on
labelled pixels, and a target without a name teaches its query the mask and "not void", but no category.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.training.matcher import Assignment, LossWeights, match, sample_points

OVERSAMPLE = 3  # candidates per kept point (PointRend, Mask2Former)
UNCERTAIN_SHARE = 0.75  # of the points are the least certain candidates (same source)
UNNAMED = -1  # category id of a target without a name


@dataclass(frozen=True, slots=True)
class Targets:
    """What one photo shows: masks at the padded size, a category id per mask, and where anything is known."""

    masks: Float[Tensor, "target height width"]
    category_ids: Int[Tensor, " target"]
    labelled: Bool[Tensor, "height width"]


@dataclass(frozen=True, slots=True)
class LayerPrediction:
    """One of the decoder's predictions, compared with the training vocabulary."""

    mask_logits: Float[Tensor, "batch query height width"]
    category_logits: Float[Tensor, "batch query category"]
    void_logits: Float[Tensor, "batch query"]


def segmentation_loss(
    predictions: Sequence[LayerPrediction], targets: Sequence[Targets], *, weights: LossWeights, points: int
) -> dict[str, Float[Tensor, ""]]:
    """Weighted terms summed over all predictions: `category`, `mask`, `dice`; their sum is the loss.

    A batch without any target gives zero mask and dice terms. `points` are sampled per mask.
    """
    count = max(1, sum(len(target.category_ids) for target in targets))
    terms = {name: predictions[0].mask_logits.new_zeros(()) for name in ("category", "mask", "dice")}
    for prediction in predictions:
        log_probs = torch.cat((prediction.category_logits, prediction.void_logits[..., None]), dim=-1)
        log_probs = log_probs.log_softmax(dim=-1)
        assignments = [
            assign(log_probs[index], prediction.mask_logits[index], target, weights=weights, points=points)
            for index, target in enumerate(targets)
        ]
        mask, dice = mask_losses(prediction.mask_logits, targets, assignments, points=points)
        terms["category"] = terms["category"] + weights.category * category_loss(
            log_probs, prediction.mask_logits, targets, assignments=assignments, void_weight=weights.void
        )
        terms["mask"] = terms["mask"] + weights.mask * mask / count
        terms["dice"] = terms["dice"] + weights.dice * dice / count
    return terms


def assign(
    log_probs: Float[Tensor, "query class"],
    mask_logits: Float[Tensor, "query height width"],
    target: Targets,
    *,
    weights: LossWeights,
    points: int,
) -> Assignment:
    """Match one photo's targets at fresh random points."""
    probs = log_probs.exp()
    named = probs[:, target.category_ids.clamp(min=0)]
    anything = 1 - probs[:, -1:]  # an unnamed target asks only for "not void"
    wanted = torch.where(target.category_ids == UNNAMED, anything, named)
    places = torch.rand(points, 2, device=mask_logits.device)
    return match(wanted, mask_logits, target.masks, points=places, weights=weights)


def category_loss(
    log_probs: Float[Tensor, "batch query class"],
    mask_logits: Float[Tensor, "batch query height width"],
    targets: Sequence[Targets],
    *,
    assignments: Sequence[Assignment],
    void_weight: float,
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy over all queries; void is the last class."""
    loss = -log_probs[..., -1]
    weight = torch.stack(
        [
            void_weight * labelled_share(logits, target.labelled)
            for logits, target in zip(mask_logits, targets, strict=True)
        ]
    )
    for index, (target, pairs) in enumerate(zip(targets, assignments, strict=True)):
        wanted = target.category_ids[pairs.targets]
        chosen = log_probs[index, pairs.queries]
        named = -chosen.gather(1, wanted.clamp(min=0)[:, None])[:, 0]
        anything = -chosen[:, :-1].logsumexp(dim=-1)
        rows = torch.full_like(pairs.queries, index)
        loss = loss.index_put((rows, pairs.queries), torch.where(wanted == UNNAMED, anything, named))
        weight[index, pairs.queries] = 1.0
    return (loss * weight).sum() / weight.sum().clamp(min=1e-6)


@torch.no_grad()
def labelled_share(
    mask_logits: Float[Tensor, "query height width"], labelled: Bool[Tensor, "full_height full_width"]
) -> Float[Tensor, " query"]:
    """How much of each mask lies on labelled pixels, 0..1; exactly 1 where all pixels are labelled."""
    if bool(labelled.all()):
        return mask_logits.new_ones(len(mask_logits))
    height, width = mask_logits.shape[-2:]
    known = F.adaptive_avg_pool2d(labelled[None].to(mask_logits.dtype), (height, width))[0]
    inside = mask_logits.sigmoid().flatten(1)
    return (inside @ known.flatten()) / inside.sum(dim=-1).clamp(min=1e-6)


def mask_losses(
    mask_logits: Float[Tensor, "batch query height width"],
    targets: Sequence[Targets],
    assignments: Sequence[Assignment],
    *,
    points: int,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Binary cross-entropy and dice of matched masks, each summed over the masks."""
    predicted = torch.cat(
        [logits[pairs.queries] for logits, pairs in zip(mask_logits, assignments, strict=True)]
    )
    wanted = torch.cat(
        [target.masks[pairs.targets] for target, pairs in zip(targets, assignments, strict=True)]
    )
    if len(predicted) == 0:
        zero = mask_logits.sum() * 0
        return zero, zero
    places = uncertain_points(predicted.detach(), points=points)
    logits = sample_points(predicted, places)
    truths = sample_points(wanted, places)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truths, reduction="none").mean(dim=-1).sum()
    inside = logits.sigmoid()
    overlap = 2 * (inside * truths).sum(dim=-1) + 1
    dice = (1 - overlap / (inside.sum(dim=-1) + truths.sum(dim=-1) + 1)).sum()
    return cross_entropy, dice


@torch.no_grad()
def uncertain_points(
    mask_logits: Float[Tensor, "map height width"], *, points: int
) -> Float[Tensor, "map point 2"]:
    """Random points of each mask, most of them where the mask is least certain (logit near zero)."""
    masks = len(mask_logits)
    uncertain = int(UNCERTAIN_SHARE * points)
    candidates = torch.rand(masks, OVERSAMPLE * points, 2, device=mask_logits.device)
    doubt = -sample_points(mask_logits, candidates).abs()
    chosen = doubt.topk(uncertain, dim=1).indices[..., None].expand(-1, -1, 2)
    rest = torch.rand(masks, points - uncertain, 2, device=mask_logits.device)
    return torch.cat((candidates.gather(1, chosen), rest), dim=1)
