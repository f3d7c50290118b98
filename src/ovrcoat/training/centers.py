"""Training of selected queries: the heatmap of centers, and the targets that contain a query's cell."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.structures import QuerySelection
from ovrcoat.training.losses import LossTerm, Targets

DISTANCES = (3, 7, 15)  # cells; the center of a mask is where windows of these sizes contain most of it
DEVIATIONS_PER_SIDE = 8.0  # the side of a square of the mask's area, over the deviation of its Gaussian
SMALLEST_DEVIATION = 0.5  # cells
UNKNOWN_WEIGHT = 0.1  # of cells without labels, which are rarely the center of an object
INSIDE_SHARE = (
    0.5  # a cell is inside a mask if the mask covers this share of the most that it covers of a cell
)


def center_loss(selection: QuerySelection, targets: Sequence[Targets], *, weight: float) -> LossTerm:
    """Focal loss of the heatmap of centers (CenterNet, Zhou et al. 2019), per target.

    Args:
        selection: of the same images.
        targets: of each image.
        weight: of the term.
    """
    height, width = selection.center_logits.shape[-2:]
    losses = [
        _focal_loss(logits, *_heatmap(target, height=height, width=width))
        for logits, target in zip(selection.center_logits, targets, strict=True)
    ]
    count = sum(len(target.masks) for target in targets)
    total = torch.stack(losses).sum()[None]
    return LossTerm(total, total.new_full((1,), float(count)), weight)


@torch.no_grad()
def cells_inside(
    selection: QuerySelection, targets: Sequence[Targets]
) -> tuple[Bool[Tensor, "selected target"], ...]:
    """Return for each image which targets contain the cell of which selected query."""
    height, width = selection.center_logits.shape[-2:]
    return tuple(
        _inside(_shares(target.masks, height=height, width=width).flatten(1), cells)
        for target, cells in zip(targets, selection.cells, strict=True)
    )


def _inside(shares: Float[Tensor, "target cell"], cells: Tensor) -> Bool[Tensor, "selected target"]:
    highest = shares.amax(dim=1, keepdim=True)
    return ((shares >= INSIDE_SHARE * highest) & (shares > 0))[:, cells].T


def _shares(
    masks: Bool[Tensor, "target mask_height mask_width"], *, height: int, width: int
) -> Float[Tensor, "target {height} {width}"]:
    """Return the share of each cell that each mask covers."""
    return F.adaptive_avg_pool2d(masks.float()[:, None], (height, width))[:, 0]


@torch.no_grad()
def _heatmap(
    target: Targets, *, height: int, width: int
) -> tuple[Float[Tensor, "{height} {width}"], Float[Tensor, "{height} {width}"]]:
    """Return the heatmap, with a Gaussian of height 1 at each target's center, and weights of the cells."""
    device = target.masks.device
    labeled = _shares(target.labeled[None], height=height, width=width)[0]
    weights = labeled + UNKNOWN_WEIGHT * (1 - labeled)
    if len(target.masks) == 0:
        return torch.zeros(height, width, device=device), weights
    shares = _shares(target.masks, height=height, width=width)
    windows = [F.avg_pool2d(shares[:, None], size, stride=1, padding=size // 2)[:, 0] for size in DISTANCES]
    centers = (torch.stack(windows).sum(dim=0) * shares).flatten(1).argmax(dim=1)
    deviations = shares.sum(dim=(1, 2)).sqrt() / DEVIATIONS_PER_SIDE
    y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    rows = torch.div(centers, width, rounding_mode="floor")[:, None, None]
    squared = (y - rows) ** 2 + (x - centers[:, None, None] % width) ** 2
    gaussians = torch.exp(-squared / (2 * deviations.clamp(min=SMALLEST_DEVIATION)[:, None, None] ** 2))
    return gaussians.amax(dim=0), weights


def _focal_loss(
    logits: Float[Tensor, "height width"],
    heatmap: Float[Tensor, "height width"],
    weights: Float[Tensor, "height width"],
) -> Float[Tensor, ""]:
    """Penalty-reduced focal loss with CenterNet's exponents 2 and 4, summed over the cells."""
    probabilities = logits.sigmoid()
    centers = (1 - probabilities) ** 2 * F.logsigmoid(logits)
    others = (1 - heatmap) ** 4 * probabilities**2 * F.logsigmoid(-logits) * weights
    return -torch.where(heatmap == 1, centers, others).sum()
