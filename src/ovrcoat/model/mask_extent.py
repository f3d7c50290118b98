"""Mask extent: where the mask of a selected query lies.

A mask is the product of a query with the features of every pixel. Neighbors of one class have similar
features, so with few training images their masks merge. A selected query knows where it starts
(`query_selection.py`). From there, it predicts the center and the size of its mask, and the logits decrease
with the distance from that center. SMCA (Gao et al. 2021) limits attention like this, and CondInst (Tian et
al. 2020) gives masks the coordinates relative to a center. The published models have none of this.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.transformer import MultiLayerPerceptron
from ovrcoat.structures import MaskExtents, QuerySelection

INITIAL_DEVIATION = 32.0  # cells (of 8 pixels): before training, masks are hardly limited
SMALLEST_DEVIATION, LARGEST_DEVIATION = 0.5, 2_000.0  # cells
# Half the exponent of a Gaussian. Pixels of a mask can be far from its center, and the features of the pixels
# have to outweigh this.
STRENGTH = 0.25
# Distance, in deviations, from which logits decrease linearly instead of quadratically: far pixels would
# overflow float16, and have large gradients.
LINEAR_FROM = 4.0


class MaskExtent(nn.Module):
    """Predicts the center and the size of masks.

    Args:
        channels: of the queries.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head = MultiLayerPerceptron(channels, channels, 4)
        for parameter in self.head.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, normed: Float[Tensor, "batch query channel"], selection: QuerySelection) -> MaskExtents:
        """Predict the extents of the masks of selected queries.

        Args:
            normed: the queries after a layer and its norm.
            selection: where they start.
        """
        rows, columns = selection.center_logits.shape[-2:]
        offsets, log_scales = self.head(normed).float().split(2, dim=-1)
        return MaskExtents(
            centers=torch.stack(selection.rows_and_columns(), dim=-1) + 0.5 + offsets,
            log_deviations=math.log(INITIAL_DEVIATION) + log_scales,
            cells=(rows, columns),
        )


def add_extents(
    mask_logits: Float[Tensor, "batch query _ _"], extents: MaskExtents, *, size: Sequence[int]
) -> Float[Tensor, "batch query _ _"]:
    """Lower the mask logits of the last queries, the selected ones, with the distance from their centers.

    Args:
        mask_logits: at full size, or resized. Resizing is linear, so the result is the same.
        extents: of the selected queries.
        size: height and width of the masks at full size.
    """
    limits = math.log(SMALLEST_DEVIATION), math.log(LARGEST_DEVIATION)
    deviations = extents.log_deviations.clamp(*limits).exp()
    sides = []
    for axis, (full, cells, wanted) in enumerate(
        zip(size, extents.cells, mask_logits.shape[-2:], strict=True)
    ):
        places = (torch.arange(full, device=mask_logits.device) + 0.5) * (cells / full)
        distances = (places - extents.centers[..., axis, None]) / deviations[..., axis, None]
        side = -STRENGTH * _linear_far_away(distances)
        if wanted != full:
            side = F.interpolate(side, size=wanted, mode="linear", align_corners=False)
        sides.append(side.to(mask_logits.dtype))
    rows, columns = sides
    learned, selected = mask_logits[:, : -rows.shape[1]], mask_logits[:, -rows.shape[1] :]
    return torch.cat((learned, selected + rows[..., :, None] + columns[..., None, :]), dim=1)


def _linear_far_away(distances: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the square, but with linear growth from `LINEAR_FROM` on (pseudo-Huber loss)."""
    return 2 * LINEAR_FROM**2 * ((1 + (distances / LINEAR_FROM) ** 2).sqrt() - 1)
