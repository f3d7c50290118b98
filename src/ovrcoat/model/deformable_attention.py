"""Multi-scale deformable attention (Deformable DETR, ICLR 2021) in plain PyTorch, for any device.

Each query attends to a few sampling locations per level. Locations and weights are computed from the query.
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
    """Attention of each query to `points` sampling locations per level and head."""

    def __init__(self, channels: int, *, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self._initialize()

    def _initialize(self) -> None:
        """Initialize as Deformable DETR: point p of head h is p + 1 steps away in direction 2πh/heads."""
        offsets = []  # Python numbers: computing this on the meta device would import PyTorch's compiler
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
        """Attend to the values at the sampling locations.

        Samples outside a level are zero, as in the released operator.

        Args:
            queries: determine locations and weights.
            values: tokens of all levels, row-major, one level after the other.
            reference_points: (x, y) of each query as fractions of the padded image.
            sizes: (height, width) of each level.
        """
        projected = linear(values, self.value_proj)
        if not may_tile(queries):  # in the backward pass, gathering takes three times as long as sampling
            offsets, weights = self._sampling_locations(queries)
            sampled = _sample(projected, offsets, weights, reference_points=reference_points, sizes=sizes)
            return self.output_proj(sampled.to(projected.dtype))
        table = ValueTable.of(projected, sizes, heads=self.heads, points=self.points)
        attended = projected.new_empty((*queries.shape[:2], projected.shape[2]))
        # the widest intermediate result: indices and weights of the four pixels of each sample
        width = 8 * self.attention_weights.out_features * len(queries)
        project = prepared(self.output_proj, like=projected, rows=attended[..., 0].numel())
        for tile in tiles(queries.shape[1], width=width, like=table.entries):
            offsets, weights = self._sampling_locations(queries[:, tile])
            gathered = table.gather(
                offsets.flatten(2, 4), weights.flatten(2), reference_points=reference_points[tile]
            )
            attended[:, tile] = project(gathered.to(projected.dtype))
        return attended

    def _sampling_locations(
        self, queries: Float[Tensor, "batch query channel"]
    ) -> tuple[
        Float[Tensor, "batch query head level point 2"], Float[Tensor, "batch query head level point"]
    ]:
        """Return each query's sampling offsets, as (x, y) in pixels of the level, and their weights.

        The weights are in float32 where tiles are used, as `ValueTable.gather` needs them.
        """
        shape = (*queries.shape[:2], self.heads, self.levels, self.points)
        offsets = linear(queries, self.sampling_offsets).view(*shape, 2)
        logits = linear(queries, self.attention_weights).view(*shape[:3], -1)
        # over all points of all levels
        weights = _softmax_of_few(logits) if may_tile(logits) else logits.softmax(dim=-1)
        return offsets, weights.view(shape)


def _softmax_of_few(logits: Float[Tensor, "*shape few"]) -> Float[Tensor, "*shape few"]:
    """Return the softmax over the last axis, in float32.

    For a few numbers, such as 12, PyTorch's takes a CPU two to five times as long: it does not vectorize over
    the other axes.
    """
    weights = logits.float()
    weights = (weights - weights.amax(dim=-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def _sample(
    values: Float[Tensor, "batch token channel"],
    offsets: Float[Tensor, "batch query head level point 2"],
    weights: Float[Tensor, "batch query head level point"],
    *,
    reference_points: Float[Tensor, "query 2"],
    sizes: tuple[Size, ...],
) -> Float[Tensor, "batch query channel"]:
    """Return the weighted sum of all samples, by `F.grid_sample`, one level at a time. Uses float32."""
    batch, count, heads = offsets.shape[:3]
    counts = [height * width for height, width in sizes]
    total = None
    for level, ((height, width), tokens) in enumerate(
        zip(sizes, values.split_with_sizes(counts, dim=1), strict=True)
    ):
        # batch * head, channel of the head, height, width
        maps = tokens.float().transpose(1, 2).reshape(batch * heads, -1, height, width)
        scale = reference_points.new_tensor((width, height))
        locations = reference_points[:, None, None] + offsets[:, :, :, level] / scale
        grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # batch * head, query, point, xy
        samples = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        # batch * head, 1, query, point
        weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
        summed = (samples * weight).sum(dim=-1)  # batch * head, channel of the head, query
        total = summed if total is None else total + summed
    assert total is not None  # there is at least one level
    return total.view(batch, -1, count).transpose(1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class ValueTable:
    """Values as a table for gathering. An entry has the channels of one head of one token.

    Every level has a border of zeros: one token at the left and top, two at the right and bottom. Samples
    outside a level read the border, so that their locations need not be checked. Values that depend on the
    level are repeated for every ``sample`` (head × level × point), so that the CPU vectorizes over samples.

    Attributes:
        entries: in float32, like the interpolation weights.
        heads: number of heads.
        widths: of each sample's level, in pixels.
        heights: likewise.
        strides: tokens from one line of the level, with its border, to the next.
        origins: entry of token (0, 0) of each sample's level and head.
    """

    entries: Float[Tensor, "entry channel"]
    heads: int
    widths: Float[Tensor, " sample"]
    heights: Float[Tensor, " sample"]
    strides: Float[Tensor, " sample"]
    origins: Int[Tensor, "batch 1 sample"]

    @classmethod
    def of(
        cls,
        values: Float[Tensor, "batch token channel"],
        sizes: tuple[Size, ...],
        *,
        heads: int,
        points: int,
    ) -> "ValueTable":
        """Create the table of all levels of all images."""
        padded_sizes = tuple((height + 3, width + 3) for height, width in sizes)
        counts = [height * width for height, width in padded_sizes]
        batch, _, channels = values.shape
        device = values.device
        table = torch.zeros((batch, sum(counts), channels), device=device)
        tokens = values.split_with_sizes([height * width for height, width in sizes], dim=1)
        for part, level, size, padded_size in zip(
            table.split_with_sizes(counts, dim=1), tokens, sizes, padded_sizes, strict=True
        ):
            torch.unflatten(part, 1, padded_size)[:, 1:-2, 1:-2] = torch.unflatten(level, 1, size)

        padded = torch.tensor(padded_sizes, dtype=torch.int32, device=device)
        areas = padded.prod(-1, dtype=torch.int32)
        starts = areas.cumsum(0, dtype=torch.int32) - areas + padded[:, 1] + 1  # token (0, 0) of each level
        images = torch.arange(batch, dtype=torch.int32, device=device)[:, None, None] * areas.sum()
        every_head = torch.arange(heads, dtype=torch.int32, device=device).repeat_interleave(
            len(sizes) * points
        )

        def per_sample(of_level: Tensor) -> Tensor:
            return of_level.repeat_interleave(points).repeat(heads)

        return cls(
            entries=table.view(-1, channels // heads),
            heads=heads,
            widths=per_sample((padded[:, 1] - 3).float()),
            heights=per_sample((padded[:, 0] - 3).float()),
            strides=per_sample(padded[:, 1].float()),
            origins=(images + per_sample(starts)) * heads + every_head,
        )

    def gather(
        self,
        offsets: Float[Tensor, "batch query sample 2"],
        weights: Float[Tensor, "batch query sample"],
        *,
        reference_points: Float[Tensor, "query 2"],
    ) -> Float[Tensor, "batch query channel"]:
        """Return the weighted sum of each query's samples, each interpolated from four pixels; in float32."""
        left, right_weight = _pixels(offsets[..., 0], reference_points[:, :1], self.widths)
        top, lower_weight = _pixels(offsets[..., 1], reference_points[:, 1:], self.heights)
        # exact in float32: a level has fewer than 2²⁴ tokens
        upper_left = torch.addcmul(left, top, self.strides).int().mul_(self.heads).add_(self.origins)
        lower_left = upper_left + (self.heads * self.strides).int()

        lower = lower_weight.mul_(weights)
        upper = weights - lower
        lower_right, upper_right = lower * right_weight, upper * right_weight
        corners = (
            (upper_left, upper.sub_(upper_right)),
            (upper_left + self.heads, upper_right),
            (lower_left, lower.sub_(lower_right)),
            (lower_left + self.heads, lower_right),
        )
        batch, count = offsets.shape[:2]
        bags = (batch * count * self.heads, -1)
        total, *others = (
            F.embedding_bag(index.view(bags), self.entries, mode="sum", per_sample_weights=weight.view(bags))
            for index, weight in corners
        )
        for corner in others:
            total += corner
        return total.view(batch, count, -1)


def _pixels(
    offsets: Float[Tensor, "batch query sample"],
    references: Float[Tensor, "query 1"],
    lengths: Float[Tensor, " sample"],
) -> tuple[Float[Tensor, "batch query sample"], Float[Tensor, "batch query sample"]]:
    """Return, along one axis, the last pixel at or before each sample, and the weight of the next pixel.

    Pixels are numbered from 0 to `lengths` - 1. Samples outside are clamped to the border (-1 and `lengths`).
    Both results are float32.
    """
    locations = offsets.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    locations.addcmul_(references.float(), lengths).sub_(0.5).clamp_(min=-1)
    torch.minimum(locations, lengths, out=locations)
    pixels = locations.floor()
    return pixels, locations.sub_(pixels)
