"""Training of the extents of masks: center and size of the object in which a selected query starts."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovrcoat.model.mask_extent import SMALLEST_DEVIATION
from ovrcoat.structures import MaskExtents
from ovrcoat.training.centers import CellShares
from ovrcoat.training.losses import LossTerm

CELL_VARIANCE = 1 / 12  # of the pixels within a cell, in each direction


def extent_loss(
    extents: Sequence[MaskExtents],
    shares: Sequence[CellShares],
    inside: Sequence[Bool[Tensor, "selected _"]],
    *,
    weight: float,
) -> LossTerm:
    """L1 loss of centers and of the logarithms of deviations, per query that starts in a target.

    Distances of centers are in deviations. The loss does not depend on the matching: targets do not overlap,
    so each query starts in one of them or in none.

    Args:
        extents: one for each prediction of the mask decoder.
        shares: of the cells of each image.
        inside: for each image, which targets contain the cell of each selected query (`cells_inside`).
        weight: of the term.
    """
    with torch.no_grad():
        true_centers, true_deviations, known = (
            torch.stack(parts)
            for parts in zip(
                *(_extents_at(*image) for image in zip(shares, inside, strict=True)), strict=True
            )
        )
    losses = []
    for predicted in extents:
        centers = (predicted.centers - true_centers) / true_deviations
        sizes = predicted.log_deviations - true_deviations.log()
        per_query = torch.cat((centers, sizes), dim=-1).abs().mean(dim=-1)
        losses.append((per_query * known).sum())
    total = torch.stack(losses)
    return LossTerm(total, known.sum().expand_as(total).to(total.dtype), weight)


def _extents_at(
    shares: CellShares, inside: Bool[Tensor, "selected target"]
) -> tuple[Float[Tensor, "selected 2"], Float[Tensor, "selected 2"], Bool[Tensor, " selected"]]:
    """Return center and deviation of the target in which each query starts, and whether there is one."""
    if len(shares.masks) == 0:
        ones = shares.labeled.new_ones(len(inside), 2)
        return ones, ones, inside.new_zeros(len(inside))
    total = shares.masks.sum(dim=(1, 2)).clamp(min=1e-6)
    centers, deviations = [], []
    for axis in (1, 2):
        weights = shares.masks.sum(dim=3 - axis) / total[:, None]
        places = torch.arange(weights.shape[1], device=weights.device) + 0.5
        mean = (weights * places).sum(dim=1)
        variance = (weights * (places - mean[:, None]) ** 2).sum(dim=1) + CELL_VARIANCE
        centers.append(mean)
        deviations.append(variance.sqrt().clamp(min=SMALLEST_DEVIATION))
    # a cell on a border is inside of several targets: the smallest one has the fewest
    target = torch.where(inside, total, torch.inf).argmin(dim=1)
    return torch.stack(centers, dim=1)[target], torch.stack(deviations, dim=1)[target], inside.any(dim=1)
