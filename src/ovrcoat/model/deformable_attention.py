"""Multi-scale deformable attention (Deformable DETR, ICLR 2021) in plain PyTorch: no compiler, any device.

Every token looks at a few points per level, at places and with weights that it computes itself.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.structures import Size


class DeformableAttention(nn.Module):
    """Attention from each token to `points` sampled places per level and head."""

    def __init__(self, channels: int, *, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self._initialise()

    def _initialise(self) -> None:
        """Deformable DETR's start: head h looks in direction 2πh/heads, point p lies p + 1 steps away."""
        offsets = []  # in Python's numbers: tensors on the meta device would import torch's compiler for this
        for head in range(self.heads):
            angle = 2 * math.pi * head / self.heads
            direction = math.cos(angle), math.sin(angle)
            longest = max(map(abs, direction))
            for _ in range(self.levels):
                for steps in range(1, self.points + 1):
                    offsets += [coordinate / longest * steps for coordinate in direction]
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(torch.tensor(offsets))
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        queries: Float[Tensor, "batch query channel"],
        values: Float[Tensor, "batch token channel"],
        *,
        reference_points: Float[Tensor, "query 2"],
        sizes: tuple[Size, ...],
    ) -> Float[Tensor, "batch query channel"]:
        """Attend to `values`, the row-major tokens of all levels behind one another.

        `reference_points` are (x, y) fractions of the padded photo; `sizes` the levels' (height, width).
        Samples outside a level count as zero, as in the released operator.
        """
        batch, count, _ = queries.shape
        shape = (batch, count, self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(queries).view(*shape, 2)
        weights = self.attention_weights(queries).view(batch, count, self.heads, -1)
        weights = weights.softmax(dim=-1).view(shape)  # over all points of all levels
        projected = self.value_proj(values)
        sampled = None
        starts = [0]
        for height, width in sizes:
            starts.append(starts[-1] + height * width)
        for level, (height, width) in enumerate(sizes):
            tokens = projected[:, starts[level] : starts[level + 1]]
            # batch * head, channel of the head, height, width
            maps = tokens.transpose(1, 2).reshape(batch * self.heads, -1, height, width)
            scale = offsets.new_tensor((width, height))
            places = reference_points[:, None, None] + offsets[:, :, :, level] / scale
            grid = (2 * places - 1).transpose(1, 2).flatten(0, 1)  # batch * head, query, point, xy
            samples = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            # batch * head, 1, query, point
            weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
            summed = (samples * weight).sum(dim=-1)  # batch * head, channel of the head, query
            sampled = summed if sampled is None else sampled + summed
        assert sampled is not None  # there is at least one level
        return self.output_proj(sampled.view(batch, -1, count).transpose(1, 2))
