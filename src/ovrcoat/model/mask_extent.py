"""Mask extent: where the mask of a selected query may lie.

A mask is the product of a query with the features of every pixel. Neighbors of one class have similar
features, so with few training images their masks merge. A selected query knows where it starts
(`query_selection.py`). From there, it predicts the center and the size of its mask, and the logits decrease
with the distance from that center. SMCA (Gao et al. 2021) limits attention like this, and CondInst (Tian et
al. 2020) gives masks the coordinates relative to a center. The published models have none of this.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.transformer import MultiLayerPerceptron
from ovrcoat.structures import QuerySelection

# Before training, masks are hardly limited. In cells of the map on which queries are selected (8 pixels).
INITIAL_DEVIATION = 32.0
LOG_DEVIATIONS = (math.log(1 / 64), math.log(64))  # limits, relative to it: deviations of half a cell or more
# Distance, in deviations, from which the penalty grows linearly instead of quadratically: far pixels would
# overflow float16, and have large gradients.
LINEAR_FROM = 4.0


class MaskExtent(nn.Module):
    """Predicts how much the logits of a mask decrease with the distance from its center.

    Args:
        channels: of the queries.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head = MultiLayerPerceptron(channels, channels, 4)
        for parameter in self.head.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        normed: Float[Tensor, "batch query channel"],
        selection: QuerySelection,
        *,
        height: int,
        width: int,
    ) -> tuple[Float[Tensor, "batch query {height}"], Float[Tensor, "batch query {width}"]]:
        """Return the logits to add to each row and to each column of the masks, at most 0, in float32.

        Args:
            normed: the selected queries.
            selection: where they start.
            height: of the masks.
            width: of the masks.
        """
        rows, columns = selection.center_logits.shape[-2:]
        y, x, log_y, log_x = self.head(normed).float().unbind(-1)
        y = y + torch.div(selection.cells, columns, rounding_mode="floor") + 0.5
        x = x + selection.cells % columns + 0.5
        return _penalty(y, log_y, size=height, cells=rows), _penalty(x, log_x, size=width, cells=columns)


def _penalty(
    centers: Float[Tensor, "batch query"],
    log_deviations: Float[Tensor, "batch query"],
    *,
    size: int,
    cells: int,
) -> Float[Tensor, "batch query {size}"]:
    """Return the logits along one side of the masks, which has `size` pixels and `cells` cells."""
    places = (torch.arange(size, device=centers.device) + 0.5) * (cells / size)
    deviations = INITIAL_DEVIATION * log_deviations.clamp(*LOG_DEVIATIONS).exp()
    distances = (places - centers[..., None]) / deviations[..., None]
    return LINEAR_FROM**2 * (1 - (1 + (distances / LINEAR_FROM) ** 2).sqrt())


def add_extent(
    mask_logits: Float[Tensor, "batch query height width"],
    extent: tuple[Float[Tensor, "batch selected _"], Float[Tensor, "batch selected _"]],
) -> Float[Tensor, "batch query height width"]:
    """Add the extent of the last queries, the selected ones, to their mask logits.

    Resizing is linear, so this is the same before and after bilinear resizing.
    """
    rows, columns = (
        side if side.shape[-1] == size else F.interpolate(side, size=size, mode="linear", align_corners=False)
        for side, size in zip(extent, mask_logits.shape[-2:], strict=True)
    )
    learned, selected = mask_logits[:, : -rows.shape[1]], mask_logits[:, -rows.shape[1] :]
    selected = selected + rows[..., :, None].to(selected.dtype) + columns[..., None, :].to(selected.dtype)
    return torch.cat((learned, selected), dim=1)
