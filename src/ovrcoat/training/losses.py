"""The segmentation loss: category, mask and dice for every prediction of the mask decoder.

Partly labelled images: a query that nothing was assigned to is told "void" only as far as its mask lies on
labelled pixels, and a target without a name teaches its query the mask and "not void", but no category.

Every term is kept as a numerator and what it is divided by, so that several processes can divide by what they
have together: their gradients are then those of one process with all photos.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.training.matcher import Assignment, LossWeights, match, matching_cost
from ovrcoat.training.points import PointSource, sample_masks, sample_points

UNNAMED = -1  # category id of a target without a name


@dataclass(frozen=True, slots=True)
class Targets:
    """What one image shows: masks at the padded size, a category id per mask, and where anything is known."""

    masks: Bool[Tensor, "target height width"]
    category_ids: Int[Tensor, " target"]
    labelled: Bool[Tensor, "height width"]


@dataclass(frozen=True, slots=True)
class LayerPrediction:
    """One of the decoder's predictions, compared with the training vocabulary.

    `mask_logits` come as the network has them (bfloat16 under autocast): what is read of them is in float32.
    """

    mask_logits: Float[Tensor, "batch query height width"]
    category_logits: Float[Tensor, "batch query category"]
    void_logits: Float[Tensor, "batch query"]


@dataclass(frozen=True, slots=True)
class LossTerm:
    """A term of the loss, per prediction: `numerators / max(denominators, floor)`, summed, times `weight`."""

    numerators: Float[Tensor, " prediction"]
    denominators: Float[Tensor, " prediction"]  # without gradient
    weight: float
    floor: float = 1.0  # of the denominators: a batch without masks gives zero, not NaN

    def per_prediction(self) -> Float[Tensor, " prediction"]:
        """The quotients, without the weight."""
        return self.numerators / self.denominators.clamp(min=self.floor)

    def value(self) -> Float[Tensor, ""]:
        """The weighted sum over the predictions."""
        return self.weight * self.per_prediction().sum()

    def divided_by(self, denominators: Float[Tensor, " prediction"]) -> "LossTerm":
        """The same term over other denominators as they are, such as their mean over all processes."""
        return replace(self, denominators=denominators, floor=0.0)


@dataclass(frozen=True, slots=True)
class SegmentationLoss:
    """The terms `category`, `mask` and `dice`, and the assignments of every prediction, image by photo."""

    terms: dict[str, LossTerm]
    assignments: tuple[tuple[Assignment, ...], ...]


def segmentation_loss(
    predictions: Sequence[LayerPrediction],
    targets: Sequence[Targets],
    *,
    weights: LossWeights,
    points: PointSource,
    point_count: int,
) -> SegmentationLoss:
    """Match and compare each prediction with the targets, at `point_count` points per mask.

    A batch without any target gives zero mask and dice terms.
    """
    count = float(sum(len(target.category_ids) for target in targets))
    category, mask, dice, assignments = [], [], [], []
    for number, prediction in enumerate(predictions):
        log_probs = torch.cat((prediction.category_logits, prediction.void_logits[..., None]), dim=-1)
        log_probs = log_probs.log_softmax(dim=-1)
        pairs = []
        for image, target in enumerate(targets):
            places = points.for_matching(image, prediction=number, count=point_count)
            wanted = wanted_probabilities(log_probs[image], target.category_ids)
            logits = prediction.mask_logits[image]
            pairs.append(match(matching_cost(wanted, logits, target.masks, points=places, weights=weights)))
        assignments.append(tuple(pairs))
        category.append(
            category_loss(
                log_probs, prediction.mask_logits, targets, assignments=pairs, void_weight=weights.void
            )
        )
        cross_entropy, overlap = matched_losses(
            prediction.mask_logits,
            targets,
            assignments=pairs,
            points=partial(points.for_losses, prediction=number, count=point_count),
        )
        mask.append(cross_entropy)
        dice.append(overlap)
    counts = log_probs.new_full((len(predictions),), count)
    numerators, denominators = (torch.stack(parts) for parts in zip(*category, strict=True))
    terms = {
        "category": LossTerm(numerators, denominators, weights.category, floor=1e-6),
        "mask": LossTerm(torch.stack(mask), counts, weights.mask),
        "dice": LossTerm(torch.stack(dice), counts, weights.dice),
    }
    return SegmentationLoss(terms, tuple(assignments))


@torch.no_grad()
def wanted_probabilities(
    log_probs: Float[Tensor, "query class"], category_ids: Int[Tensor, " target"]
) -> Float[Tensor, "query target"]:
    """What each query gives to each target's category; an unnamed target asks only for "not void"."""
    probs = log_probs.exp()
    named = probs[:, category_ids.clamp(min=0)]
    return torch.where(category_ids == UNNAMED, 1 - probs[:, -1:], named)


def category_loss(
    log_probs: Float[Tensor, "batch query class"],
    mask_logits: Float[Tensor, "batch query height width"],
    targets: Sequence[Targets],
    *,
    assignments: Sequence[Assignment],
    void_weight: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Weighted sum of all queries' cross-entropy, and the sum of the weights; void is the last class."""
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
    return (loss * weight).sum(), weight.sum()


@torch.no_grad()
def labelled_share(
    mask_logits: Float[Tensor, "query height width"], labelled: Bool[Tensor, "full_height full_width"]
) -> Float[Tensor, " query"]:
    """How much of each mask lies on labelled pixels, 0..1; exactly 1 where all pixels are labelled."""
    if bool(labelled.all()):
        return torch.ones(len(mask_logits), device=mask_logits.device)
    height, width = mask_logits.shape[-2:]
    known = F.adaptive_avg_pool2d(labelled[None].float(), (height, width))[0]
    inside = mask_logits.float().sigmoid().flatten(1)
    return (inside @ known.flatten()) / inside.sum(dim=-1).clamp(min=1e-6)


def matched_losses(
    mask_logits: Float[Tensor, "batch query height width"],
    targets: Sequence[Targets],
    *,
    assignments: Sequence[Assignment],
    points: Callable[[Sequence[Tensor]], Tensor],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """`mask_losses` of all matched masks at the points that `points` chooses for them, image by photo."""
    counts = [len(pairs.queries) for pairs in assignments]
    images = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(mask_logits.device)
    matched = mask_logits[images, torch.cat([pairs.queries for pairs in assignments])]
    if len(matched) == 0:
        zero = matched.float().sum()
        return zero, zero
    places = points(matched.detach().split_with_sizes(counts))
    truths = [
        sample_masks(target.masks, chosen, rows=pairs.targets)
        for target, pairs, chosen in zip(targets, assignments, places.split_with_sizes(counts), strict=True)
    ]
    return mask_losses(sample_points(matched, places), torch.cat(truths))


def mask_losses(
    logits: Float[Tensor, "mask point"], truths: Float[Tensor, "mask point"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Binary cross-entropy (mean over the points) and dice of masks, each summed over the masks."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truths, reduction="none").mean(dim=-1).sum()
    inside = logits.sigmoid()
    overlap = 2 * (inside * truths).sum(dim=-1) + 1
    dice = (1 - overlap / (inside.sum(dim=-1) + truths.sum(dim=-1) + 1)).sum()
    return cross_entropy, dice
