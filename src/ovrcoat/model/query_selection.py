"""Query selection: queries that start at the centers of objects in the image.

Learned queries start the same in every image, so separating neighboring objects takes a long training. A
selected query starts from the features and the position of a pixel that looks like the center of an object,
as in Mask DINO (Li et al. 2023) and FastInst (He et al. 2023). The centers are peaks of a heatmap, as in
CenterNet (Zhou et al. 2019). The published models have none of this.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.linear import linear
from ovrcoat.model.mask_extent import MaskExtent
from ovrcoat.structures import QuerySelection

PEAK_SIZE = 3  # a peak is the maximum of this many cells in each direction (CenterNet)
PRIOR = 0.01  # probability of a center before training (focal loss, Lin et al. 2017)


class QuerySelector(nn.Module):
    """Selects the cells of a feature map that become queries.

    Args:
        channels: of the feature map and of the queries.
        count: number of queries.
        local_masks: whether the masks of the queries are limited to an extent.
    """

    def __init__(self, channels: int, *, count: int, local_masks: bool = False) -> None:
        super().__init__()
        self.count = count
        self.center_head = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 1, 1)
        )
        self.feature_projection = nn.Linear(channels, channels)
        self.position_projection = nn.Linear(channels, channels)
        self.extent = MaskExtent(channels) if local_masks else None
        nn.init.constant_(self.center_head[-1].bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]

    def forward(
        self, level: Float[Tensor, "batch channel height width"], positions: Float[Tensor, "1 cell channel"]
    ) -> QuerySelection:
        """Select queries on a level of the multi-scale features.

        Args:
            level: its features.
            positions: position encoding of its cells, row-major.
        """
        logits = self._center_logits(level)
        cells = highest_peaks(logits.detach(), count=self.count)
        tokens = level.flatten(2).mT
        return QuerySelection(
            center_logits=logits,
            cells=cells,
            features=linear(_at(tokens, cells), self.feature_projection),
            positions=linear(_at(positions.expand_as(tokens), cells), self.position_projection),
        )

    def _center_logits(
        self, level: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch height width"]:
        """Return the heatmap in float32. In bfloat16, equal neighbors are frequent, and each is a peak."""
        *hidden, last = self.center_head
        for layer in hidden:
            level = layer(level)
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        with torch.autocast(level.device.type, enabled=False):
            return F.conv2d(level.float(), last.weight.float(), last.bias.float())[:, 0]


def highest_peaks(logits: Float[Tensor, "batch height width"], *, count: int) -> Int[Tensor, "batch {count}"]:
    """Return the row-major indices of the highest peaks, in ascending order.

    If there are fewer peaks than `count`, other cells follow, and some repeat if there are fewer cells.
    """
    pooled = F.max_pool2d(logits[:, None], PEAK_SIZE, stride=1, padding=PEAK_SIZE // 2)[:, 0]
    # All peaks come first, then the other cells, then repeated ones.
    lowest, highest = logits.amin(dim=(1, 2), keepdim=True), logits.amax(dim=(1, 2), keepdim=True)
    scores = torch.where(logits == pooled, logits, logits - (highest - lowest) - 1).flatten(1)
    scores = F.pad(scores, (0, count), value=-torch.inf)
    cells = scores.topk(count, dim=1).indices % (logits.shape[-2] * logits.shape[-1])
    return cells.sort(dim=1).values


def start_cells(selection: QuerySelection, *, height: int, width: int) -> Int[Tensor, "batch query"]:
    """Return the row-major index of the cell of a map of another size in which each query starts."""
    rows, columns = selection.center_logits.shape[-2:]
    y, x = selection.rows_and_columns()
    # where the center of the query's cell lies: (2 y + 1) / (2 rows) of the height
    y = torch.div((2 * y + 1) * height, 2 * rows, rounding_mode="floor")
    x = torch.div((2 * x + 1) * width, 2 * columns, rounding_mode="floor")
    return y * width + x


def _at(
    tokens: Float[Tensor, "batch cell channel"], cells: Int[Tensor, "batch query"]
) -> Float[Tensor, "batch query channel"]:
    """Return the tokens of `cells`."""
    return tokens.gather(1, cells[..., None].expand(-1, -1, tokens.shape[-1]))
