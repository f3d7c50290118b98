"""Training of selected queries: the heatmap of centers, and the targets that contain a query's cell."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.structures import QuerySelection
from ovrcoat.training.losses import LossTerm, Targets

WINDOW_SIZES = (3, 7, 15)  # cells; the center of a mask is where windows of these sizes contain most of it
DEVIATIONS_PER_SIDE = 8.0  # side of a square of the mask's area, divided by the deviation of its Gaussian
SMALLEST_DEVIATION = 0.5  # cells
UNKNOWN_WEIGHT = 0.1  # of cells without labels, which are rarely the center of an object
# A cell is inside a mask that covers at least this share of it, relative to the cell that it covers most.
# Objects smaller than a cell therefore have one, too.
INSIDE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class CellShares:
    """Shares of the cells of an image, 0 to 1.

    Attributes:
        masks: covered by each target.
        labeled: covered by pixels with labels.
    """

    masks: Float[Tensor, "target height width"]
    labeled: Float[Tensor, "height width"]


@torch.no_grad()
def cell_shares(selection: QuerySelection, targets: Sequence[Targets]) -> list[CellShares]:
    """Return the shares of the cells on which queries were selected, for each image."""
    height, width = selection.center_logits.shape[-2:]
    return [
        CellShares(
            masks=_shares(target.masks, height=height, width=width),
            labeled=_shares(target.labeled[None], height=height, width=width)[0],
        )
        for target in targets
    ]


def center_loss(selection: QuerySelection, shares: Sequence[CellShares], *, weight: float) -> LossTerm:
    """Focal loss of the heatmap of centers (CenterNet, Zhou et al. 2019), per target.

    Args:
        selection: of a batch.
        shares: of the same images.
        weight: of the term.
    """
    losses = [
        _focal_loss(logits, heatmap(image.masks), image.labeled + UNKNOWN_WEIGHT * (1 - image.labeled))
        for logits, image in zip(selection.center_logits, shares, strict=True)
    ]
    total = torch.stack(losses).sum()[None]
    count = sum(len(image.masks) for image in shares)
    return LossTerm(total, total.new_full((1,), float(count)), weight)


@torch.no_grad()
def cells_inside(selection: QuerySelection, shares: Sequence[CellShares]) -> list[Bool[Tensor, "selected _"]]:
    """Return for each image which targets contain the cell of which selected query."""
    return [
        _inside(image.masks.flatten(1), cells) for image, cells in zip(shares, selection.cells, strict=True)
    ]


def _inside(
    shares: Float[Tensor, "target cell"], cells: Int[Tensor, " selected"]
) -> Bool[Tensor, "selected target"]:
    highest = shares.amax(dim=1, keepdim=True)
    return ((shares >= INSIDE_SHARE * highest) & (shares > 0))[:, cells].T


def _shares(
    masks: Bool[Tensor, "mask full_height full_width"], *, height: int, width: int
) -> Float[Tensor, "mask {height} {width}"]:
    """Return the share of each cell that each mask covers. The sides of a mask are multiples of a cell's."""
    cells = torch.unflatten(torch.unflatten(masks, 2, (width, -1)), 1, (height, -1))
    return cells.sum(dim=(2, 4), dtype=torch.float32) / (cells.shape[2] * cells.shape[4])


@torch.no_grad()
def heatmap(shares: Float[Tensor, "target height width"]) -> Float[Tensor, "height width"]:
    """Return the heatmap to predict: a Gaussian of height 1 at the center of each target.

    The center is a cell of the mask that has most of it around. The deviation grows with the mask.
    """
    height, width = shares.shape[1:]
    if len(shares) == 0:
        return shares.new_zeros(height, width)
    around = sum(
        F.avg_pool2d(shares[:, None], size, stride=1, padding=size // 2)[:, 0] for size in WINDOW_SIZES
    )
    centers = (around * shares).flatten(1).argmax(dim=1)[:, None, None]
    y = torch.arange(height, device=shares.device)[:, None]
    x = torch.arange(width, device=shares.device)
    squared = (y - torch.div(centers, width, rounding_mode="floor")) ** 2 + (x - centers % width) ** 2
    deviations = shares.sum(dim=(1, 2), keepdim=True).sqrt() / DEVIATIONS_PER_SIDE
    gaussians = torch.exp(-squared / (2 * deviations.clamp(min=SMALLEST_DEVIATION) ** 2))
    return gaussians.amax(dim=0)


def _focal_loss(
    logits: Float[Tensor, "height width"],
    truth: Float[Tensor, "height width"],
    weights: Float[Tensor, "height width"],
) -> Float[Tensor, ""]:
    """Penalty-reduced focal loss with CenterNet's exponents 2 and 4, summed over the cells."""
    probabilities = logits.sigmoid()
    centers = (1 - probabilities) ** 2 * F.logsigmoid(logits)
    others = (1 - truth) ** 4 * probabilities**2 * F.logsigmoid(-logits) * weights
    return -torch.where(truth == 1, centers, others).sum()
