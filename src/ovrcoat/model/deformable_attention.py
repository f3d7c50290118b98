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
        if _may_gather(queries):
            sampled = _gather(projected, offsets, weights, reference_points=reference_points, sizes=sizes)
        else:
            sampled = _sample(projected, offsets, weights, reference_points=reference_points, sizes=sizes)
        return self.output_proj(sampled)


def _may_gather(like: Tensor) -> bool:
    """On a CPU without gradients gathering takes half the time; backwards it takes three times as long."""
    return like.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _sample(
    values: Float[Tensor, "batch token channel"],
    offsets: Float[Tensor, "batch query head level point 2"],
    weights: Float[Tensor, "batch query head level point"],
    *,
    reference_points: Float[Tensor, "query 2"],
    sizes: tuple[Size, ...],
) -> Float[Tensor, "batch query channel"]:
    """The weighted sum of all samples, level by level, by `F.grid_sample`."""
    batch, count, heads = offsets.shape[:3]
    counts = [height * width for height, width in sizes]
    total = None
    for level, ((height, width), tokens) in enumerate(
        zip(sizes, values.split_with_sizes(counts, dim=1), strict=True)
    ):
        # batch * head, channel of the head, height, width
        maps = tokens.transpose(1, 2).reshape(batch * heads, -1, height, width)
        scale = offsets.new_tensor((width, height))
        places = reference_points[:, None, None] + offsets[:, :, :, level] / scale
        grid = (2 * places - 1).transpose(1, 2).flatten(0, 1)  # batch * head, query, point, xy
        samples = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        # batch * head, 1, query, point
        weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
        summed = (samples * weight).sum(dim=-1)  # batch * head, channel of the head, query
        total = summed if total is None else total + summed
    assert total is not None  # there is at least one level
    return total.view(batch, -1, count).transpose(1, 2)


def _gather(
    values: Float[Tensor, "batch token channel"],
    offsets: Float[Tensor, "batch query head level point 2"],
    weights: Float[Tensor, "batch query head level point"],
    *,
    reference_points: Float[Tensor, "query 2"],
    sizes: tuple[Size, ...],
) -> Float[Tensor, "batch query channel"]:
    """The same as weighted sums of table rows: a row is a token's part of a head, a sample four of them."""
    batch, count, heads = offsets.shape[:3]
    tokens = values.shape[1]
    rows, shares = [], []
    start = 0
    for level, (height, width) in enumerate(sizes):
        extent = offsets.new_tensor((width, height))
        # of pixel centres, in pixels of the level
        places = (reference_points * extent - 0.5)[:, None, None] + offsets[:, :, :, level]
        low = places.floor()
        high_share = places - low
        low_share = 1 - high_share
        # outside the level counts as zero
        low_share = low_share.where((low >= 0) & (low < extent), 0)
        high_share = high_share.where((low >= -1) & (low < extent - 1), 0)
        edge = extent - 1
        nothing = torch.zeros_like(edge)
        left, top = low.clamp(nothing, edge).int().unbind(-1)
        right, bottom = (low + 1).clamp(nothing, edge).int().unbind(-1)
        for y, y_share in ((top, low_share[..., 1]), (bottom, high_share[..., 1])):
            share = y_share * weights[:, :, :, level]
            line = y * width + start
            for x, x_share in ((left, low_share[..., 0]), (right, high_share[..., 0])):
                rows.append(line + x)
                shares.append(share * x_share)
        start += height * width
    photo = torch.arange(batch, dtype=torch.int32, device=values.device)[:, None, None, None]
    head = torch.arange(heads, dtype=torch.int32, device=values.device)[:, None]
    index = (torch.cat(rows, dim=-1) + photo * tokens) * heads + head
    share = torch.cat(shares, dim=-1).flatten(0, 2)
    table = values.reshape(batch * tokens * heads, -1).to(share.dtype)  # under autocast shares are float32
    summed = F.embedding_bag(index.flatten(0, 2), table, mode="sum", per_sample_weights=share)
    return summed.view(batch, count, -1)
