"""The segmentation loss: category, mask and dice terms for every prediction of the mask decoder.

Partly labeled images: the void loss of an unmatched query is weighted by the share of its mask that covers
labeled pixels. A target without a category trains its query's mask and "not void", but no category.

Each term keeps its numerator and denominator apart, so that several processes can divide by the mean of their
denominators. Their gradients then equal those of one process with all images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.training.matcher import Assignment, LossWeights, forbid, match, matching_cost, queries_for
from ovrcoat.training.points import PointSource, sample_masks, sample_points

UNNAMED = -1  # category id of a target whose category is not in the training vocabulary


@dataclass(frozen=True, slots=True)
class Targets:
    """Ground truth of one image.

    Attributes:
        masks: at the padded size.
        category_ids: index in the training vocabulary of each mask, or `UNNAMED`.
        labeled: False for pixels whose content is unknown.
    """

    masks: Bool[Tensor, "target height width"]
    category_ids: Int[Tensor, " target"]
    labeled: Bool[Tensor, "height width"]


@dataclass(frozen=True, slots=True)
class LayerPrediction:
    """One prediction of the mask decoder, with its logits for the training vocabulary.

    Attributes:
        mask_logits: in the network's dtype (bfloat16 under autocast). Sampled values are float32.
        category_logits: in float32.
        void_logits: in float32.
    """

    mask_logits: Float[Tensor, "batch query height width"]
    category_logits: Float[Tensor, "batch query category"]
    void_logits: Float[Tensor, "batch query"]


@dataclass(frozen=True, slots=True)
class LossTerm:
    """A loss term: `weight` times the sum over predictions of `numerators / max(denominators, floor)`.

    Attributes:
        numerators: one for each prediction of the mask decoder.
        denominators: likewise, without gradient.
        weight: of the term in the total loss.
        floor: lower limit of the denominators, so that a batch without masks gives zero instead of NaN.
    """

    numerators: Float[Tensor, " prediction"]
    denominators: Float[Tensor, " prediction"]
    weight: float
    floor: float = 1.0

    def per_prediction(self) -> Float[Tensor, " prediction"]:
        """Return the term of each prediction, without the weight."""
        return self.numerators / self.denominators.clamp(min=self.floor)

    def value(self) -> Float[Tensor, ""]:
        """Return the weighted sum over the predictions."""
        return self.weight * self.per_prediction().sum()

    def divided_by(self, denominators: Float[Tensor, " prediction"]) -> "LossTerm":
        """Return the term with other denominators and no floor, such as their mean over all processes."""
        return replace(self, denominators=denominators, floor=0.0)


@dataclass(frozen=True, slots=True)
class SegmentationLoss:
    """The terms `category`, `mask` and `dice`, and the assignments of each prediction and image."""

    terms: dict[str, LossTerm]
    assignments: tuple[tuple[Assignment, ...], ...]


def segmentation_loss(
    predictions: Sequence[LayerPrediction],
    targets: Sequence[Targets],
    *,
    weights: LossWeights,
    points: PointSource,
    point_count: int,
    queries_per_target: int = 1,
    inside: Sequence[Bool[Tensor, "selected _"]] = (),
) -> SegmentationLoss:
    """Match each prediction to the targets and compute the loss terms.

    A batch without targets gives zero mask and dice terms.

    Args:
        predictions: of the mask decoder, from its first to its last layer.
        targets: of each image.
        weights: of the terms.
        points: chooses the points at which masks are compared.
        point_count: points per mask.
        queries_per_target: maximum of the number of queries for each target, see `queries_for`.
        inside: for each image, which targets contain the cell of each selected query, and may be matched with
            it. The selected queries are the last ones. Empty: there are none.
    """
    log_probs_of = [
        torch.cat((prediction.category_logits, prediction.void_logits[..., None]), dim=-1).log_softmax(dim=-1)
        for prediction in predictions
    ]
    find = partial(_match_all, weights=weights, points=points, point_count=point_count, inside=inside)
    assignments = find(predictions, log_probs_of, targets, queries_per_target=queries_per_target)
    all_labeled = torch.stack([target.labeled.all() for target in targets]).tolist()
    known = [None if done else target.labeled for target, done in zip(targets, all_labeled, strict=True)]
    category, mask, dice = [], [], []
    for number, (prediction, log_probs) in enumerate(zip(predictions, log_probs_of, strict=True)):
        pairs = assignments[number]
        shares = [labeled_share(*image) for image in zip(prediction.mask_logits, known, strict=True)]
        category.append(
            category_loss(
                log_probs, targets, assignments=pairs, void_weights=weights.void * torch.stack(shares)
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
    learned = log_probs.shape[1] - (len(inside[0]) if inside else 0)
    count_pairs = partial(_pair_count, targets, learned=learned, limit=queries_per_target)
    counts = log_probs.new_tensor([count_pairs(pairs) for pairs in assignments])
    numerators, denominators = (torch.stack(parts) for parts in zip(*category, strict=True))
    terms = {
        "category": LossTerm(numerators, denominators, weights.category, floor=1e-6),
        "mask": LossTerm(torch.stack(mask), counts, weights.mask),
        "dice": LossTerm(torch.stack(dice), counts, weights.dice),
    }
    return SegmentationLoss(terms, assignments)


def _pair_count(
    targets: Sequence[Targets], assignments: Sequence[Assignment], *, learned: int, limit: int
) -> float:
    """Return the denominator of the mask losses: the targets, times the learned queries for each of them.

    Targets without a learned query count, too, as in the published losses. Selected queries only count if
    they are matched.
    """
    count = 0
    for target, pairs in zip(targets, assignments, strict=True):
        wanted = len(target.category_ids)
        wanted *= queries_for(wanted, queries=learned, limit=limit)
        count += wanted + len(pairs.queries) - min(wanted, learned)
    return float(count)


def _match_all(
    predictions: Sequence[LayerPrediction],
    log_probs_of: Sequence[Float[Tensor, "batch query class"]],
    targets: Sequence[Targets],
    *,
    weights: LossWeights,
    points: PointSource,
    point_count: int,
    queries_per_target: int,
    inside: Sequence[Bool[Tensor, "selected _"]],
) -> tuple[tuple[Assignment, ...], ...]:
    """Return the assignments of each prediction and image; the CPU waits for the device once."""
    costs = [
        matching_cost(
            target_probabilities(log_probs[image], target.category_ids),
            prediction.mask_logits[image],
            target.masks,
            points=points.for_matching(image, prediction=number, count=point_count),
            weights=weights,
        )
        for number, (prediction, log_probs) in enumerate(zip(predictions, log_probs_of, strict=True))
        for image, target in enumerate(targets)
    ]
    selected = len(inside[0]) if inside else 0
    if inside:
        costs = [forbid(cost, ~inside[number % len(targets)]) for number, cost in enumerate(costs)]
    matched = iter(match(costs, queries_per_target=queries_per_target, selected=selected))
    return tuple(tuple(islice(matched, len(targets))) for _ in predictions)


@torch.no_grad()
def target_probabilities(
    log_probs: Float[Tensor, "query class"], category_ids: Int[Tensor, " target"]
) -> Float[Tensor, "query target"]:
    """Return each query's probability for each target's category; for an unnamed one, that of "not void"."""
    probs = log_probs.exp()
    named = probs[:, category_ids.clamp(min=0)]
    return torch.where(category_ids == UNNAMED, 1 - probs[:, -1:], named)


def category_loss(
    log_probs: Float[Tensor, "batch query class"],
    targets: Sequence[Targets],
    *,
    assignments: Sequence[Assignment],
    void_weights: Float[Tensor, "batch query"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the weighted sum of the cross-entropy of all queries, and the sum of the weights.

    Args:
        log_probs: log-probabilities of the categories and, in the last place, of void.
        targets: of each image.
        assignments: of each image.
        void_weights: weight of each query if it is not matched.
    """
    loss = -log_probs[..., -1]
    weight = void_weights.clone()
    for index, (target, pairs) in enumerate(zip(targets, assignments, strict=True)):
        category_ids = target.category_ids[pairs.targets]
        chosen = log_probs[index, pairs.queries]
        named = -chosen.gather(1, category_ids.clamp(min=0)[:, None])[:, 0]
        not_void = -chosen[:, :-1].logsumexp(dim=-1)
        rows = torch.full_like(pairs.queries, index)
        loss = loss.index_put((rows, pairs.queries), torch.where(category_ids == UNNAMED, not_void, named))
        weight[index, pairs.queries] = 1.0
    return (loss * weight).sum(), weight.sum()


@torch.no_grad()
def labeled_share(
    mask_logits: Float[Tensor, "query height width"], labeled: Bool[Tensor, "full_height full_width"] | None
) -> Float[Tensor, " query"]:
    """Return the share of each mask on labeled pixels, 0 to 1. None: all pixels are labeled."""
    if labeled is None:
        return torch.ones(len(mask_logits), device=mask_logits.device)
    height, width = mask_logits.shape[-2:]
    known = F.adaptive_avg_pool2d(labeled[None].float(), (height, width))[0]
    inside = mask_logits.float().sigmoid().flatten(1)
    return (inside @ known.flatten()) / inside.sum(dim=-1).clamp(min=1e-6)


def matched_losses(
    mask_logits: Float[Tensor, "batch query height width"],
    targets: Sequence[Targets],
    *,
    assignments: Sequence[Assignment],
    points: Callable[[Sequence[Tensor]], Tensor],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return `mask_losses` of all matched masks at sampled points.

    Args:
        mask_logits: of all queries.
        targets: of each image.
        assignments: of each image.
        points: chooses points for the matched masks of each image.
    """
    counts = [len(pairs.queries) for pairs in assignments]
    images = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(mask_logits.device)
    matched = mask_logits[images, torch.cat([pairs.queries for pairs in assignments])]
    if len(matched) == 0:
        zero = matched.float().sum()
        return zero, zero
    sampled = points(matched.detach().split_with_sizes(counts))
    truths = [
        sample_masks(target.masks, chosen, rows=pairs.targets)
        for target, pairs, chosen in zip(targets, assignments, sampled.split_with_sizes(counts), strict=True)
    ]
    return mask_losses(sample_points(matched, sampled), torch.cat(truths))


def mask_losses(
    logits: Float[Tensor, "mask point"], truths: Float[Tensor, "mask point"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return binary cross-entropy (mean over the points) and dice loss, each summed over the masks."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truths, reduction="none").mean(dim=-1).sum()
    inside = logits.sigmoid()
    overlap = 2 * (inside * truths).sum(dim=-1) + 1
    dice = (1 - overlap / (inside.sum(dim=-1) + truths.sum(dim=-1) + 1)).sum()
    return cross_entropy, dice
