"""Multi-scale deformable attention (Deformable DETR, ICLR 2021) in plain PyTorch: no compiler, any device.

Every token looks at a few points per level, at places and with weights that it computes itself.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.linear import linear, prepared
from ovrcoat.model.tiles import may_tile, tiles
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
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

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
        projected = linear(values, self.value_proj)
        if not may_tile(queries):  # backwards, gathering takes three times as long as sampling
            offsets, weights = self._looks(queries)
            return self.output_proj(
                _sample(projected, offsets, weights, reference_points=reference_points, sizes=sizes)
            )
        table = Table.of(projected, sizes, heads=self.heads)
        attended = projected.new_empty((*queries.shape[:2], projected.shape[2]))
        # the four rows of each sample with their shares are the widest
        width = 8 * self.attention_weights.out_features * len(queries)
        project = prepared(self.output_proj, like=projected, rows=queries.shape[1])
        for rows in tiles(queries.shape[1], width=width, like=table.rows):
            offsets, weights = self._looks(queries[:, rows])
            gathered = table.gather(offsets, weights, reference_points=reference_points[rows])
            attended[:, rows] = project(gathered.to(projected.dtype))
        return attended

    def _looks(
        self, queries: Float[Tensor, "batch query channel"]
    ) -> tuple[
        Float[Tensor, "batch query head level point 2"], Float[Tensor, "batch query head level point"]
    ]:
        """Where each query looks, as (x, y) offsets in pixels of the level, and with which weights."""
        shape = (*queries.shape[:2], self.heads, self.levels, self.points)
        offsets = linear(queries, self.sampling_offsets).view(*shape, 2)
        weights = linear(queries, self.attention_weights).view(*shape[:3], -1)
        return offsets, weights.softmax(dim=-1).view(shape)  # over all points of all levels


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


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Values as a table for gathering: a row is a token's part of a head, levels framed by rows of zeros.

    The frame (one token before, two behind) makes samples outside a level zero without asking for each.
    """

    rows: Float[Tensor, "row channel"]  # float32, as the samples' shares are
    sizes: Float[Tensor, "level 1 2"]  # (width, height) of the levels
    widths: Int[Tensor, "level 1"]  # with their frames
    firsts: Int[Tensor, "batch 1 1 level 1"]  # token (0, 0) of each level, in tokens

    @classmethod
    def of(
        cls, values: Float[Tensor, "batch token channel"], sizes: tuple[Size, ...], *, heads: int
    ) -> "Table":
        """The table of all levels of all photos."""
        frames = tuple((height + 3, width + 3) for height, width in sizes)
        counts = [height * width for height, width in frames]
        batch, _, channels = values.shape
        table = torch.zeros((batch, sum(counts), channels), device=values.device)
        tokens = values.split_with_sizes([height * width for height, width in sizes], dim=1)
        for part, level, size, frame in zip(
            table.split_with_sizes(counts, dim=1), tokens, sizes, frames, strict=True
        ):
            torch.unflatten(part, 1, frame)[:, 1:-2, 1:-2] = torch.unflatten(level, 1, size)
        device = values.device
        framed = torch.tensor(frames, dtype=torch.int32, device=device)[:, None]  # level, 1, (h, w)
        widths, areas = framed[..., 1], framed.prod(-1, dtype=torch.int32)
        starts = areas.cumsum(0, dtype=torch.int32) - areas + widths + 1  # inside its frame
        photo = torch.arange(batch, dtype=torch.int32, device=device).view(-1, 1, 1, 1, 1) * areas.sum()
        return cls(
            rows=table.view(-1, channels // heads),
            sizes=(framed - 3).flip(-1).to(torch.float32),
            widths=widths,
            firsts=starts + photo,
        )

    def gather(
        self,
        offsets: Float[Tensor, "batch query head level point 2"],
        weights: Float[Tensor, "batch query head level point"],
        *,
        reference_points: Float[Tensor, "query 2"],
    ) -> Float[Tensor, "batch query channel"]:
        """The weighted sum of each query's samples, each of four rows; in float32."""
        batch, count, heads = offsets.shape[:3]
        # of pixel centres, in pixels of the level; all that lies outside falls on the frame
        centres = (reference_points.float()[:, None, None] * self.sizes - 0.5)[:, None]
        places = (centres + offsets).clamp_(torch.full_like(self.sizes, -1), self.sizes)
        low = places.floor()
        x_share, y_share = (places - low).unbind(-1)
        x, y = low.int().unbind(-1)

        head = torch.arange(heads, dtype=torch.int32, device=offsets.device).view(-1, 1, 1)
        first = (y * self.widths + x + self.firsts) * heads + head
        below = first + self.widths * heads
        index = torch.stack((first, first + heads, below, below + heads), dim=-1)

        lower = weights * y_share
        upper = weights - lower
        lower_right, upper_right = lower * x_share, upper * x_share
        share = torch.stack((upper - upper_right, upper_right, lower - lower_right, lower_right), dim=-1)
        bags = (batch * count * heads, -1)
        summed = F.embedding_bag(
            index.view(bags), self.rows, mode="sum", per_sample_weights=share.float().view(bags)
        )
        return summed.view(batch, count, -1)
