"""Against forgetting: while CLIP's image encoder learns masks, it is held near what it was.

Both terms compare the dense map with that of an untouched copy. They are off by default, as in OVRCOAT's
released configuration; the copy is in memory only if one of them is on.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.structures import ImageBatch
from ovrcoat.training.losses import LossTerm

GRIDS = (1, 2, 4)  # cells per side of the pooled maps (MAFT+, OVRCOAT's released code)


class UntouchedEncoder(nn.Module):
    """A frozen copy of the image tower as it was when training began; the text tower is not copied."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        # the copy shares the text tower, which no stage trains
        shared = {id(encoder.text_tower): encoder.text_tower}
        self.encoder = copy.deepcopy(encoder, memo=shared).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "UntouchedEncoder":
        """Stay in eval mode, always."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: ImageBatch) -> Float[Tensor, "batch channel height width"]:
        """The dense map as it would have been."""
        return self.encoder(images).dense


def distillation(
    now: Float[Tensor, "batch channel height width"],
    before: Float[Tensor, "batch channel height width"],
    *,
    weight: float,
) -> LossTerm:
    """Mean over the dense map's cells of 1 - cosine between now and then."""
    distance = 1 - F.cosine_similarity(now.float(), before.float(), dim=1)
    return LossTerm(distance.sum()[None], distance.new_full((1,), float(distance.numel())), weight)


def compensation(
    now: Float[Tensor, "batch channel height width"],
    before: Float[Tensor, "batch channel height width"],
    *,
    weight: float,
) -> LossTerm:
    """MAFT+'s representation compensation: smooth L1 between pooled positive parts of the dense map.

    Each channel is averaged in the cells of three grids, and these are summed along rows and along columns.
    """
    distance = F.smooth_l1_loss(_strips(now), _strips(before), reduction="sum")
    count = float(now.shape[0] * now.shape[1] * 2 * sum(GRIDS))
    return LossTerm(distance[None], distance.new_full((1,), count), weight)


def _strips(dense: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel strip"]:
    """Sums over the rows and the columns of every grid."""
    positive = dense.float().relu()
    grids = [F.adaptive_avg_pool2d(positive, cells) for cells in GRIDS]
    return torch.cat([grid.sum(dim=axis) for grid in grids for axis in (2, 3)], dim=2)
