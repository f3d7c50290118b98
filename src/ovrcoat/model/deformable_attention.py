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
from ovrcoat.model.sparse_sampling import may_use_sparse, sparse_sample
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
        if not may_tile(queries):  # with gradients, on other devices, in compiled code
            offsets, weights = self._looks(queries)
            sample = sparse_sample if may_use_sparse(projected) else _sample
            sampled = sample(projected, offsets, weights, reference_points=reference_points, sizes=sizes)
            return self.output_proj(sampled.to(projected.dtype))
        table = Table.of(projected, sizes, heads=self.heads, points=self.points)
        attended = projected.new_empty((*queries.shape[:2], projected.shape[2]))
        # the four rows of each sample with their shares are the widest
        width = 8 * self.attention_weights.out_features * len(queries)
        project = prepared(self.output_proj, like=projected, rows=attended[..., 0].numel())
        for rows in tiles(queries.shape[1], width=width, like=table.rows):
            offsets, weights = self._looks(queries[:, rows])
            gathered = table.gather(
                offsets.flatten(2, 4), weights.flatten(2).float(), reference_points=reference_points[rows]
            )
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
    """The weighted sum of all samples, level by level, by `F.grid_sample`; places in float32."""
    batch, count, heads = offsets.shape[:3]
    counts = [height * width for height, width in sizes]
    total = None
    for level, ((height, width), tokens) in enumerate(
        zip(sizes, values.split_with_sizes(counts, dim=1), strict=True)
    ):
        # batch * head, channel of the head, height, width
        maps = tokens.float().transpose(1, 2).reshape(batch * heads, -1, height, width)
        scale = reference_points.new_tensor((width, height))
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

    The frame (one token before, two behind) makes samples outside a level zero without asking for each. What
    depends on the level is spelled out for every `look` (head × level × point): along such rows a processor
    computes many at once.
    """

    rows: Float[Tensor, "row channel"]  # float32, as the samples' shares are
    heads: int
    widths: Float[Tensor, " look"]  # of the look's level, in pixels
    heights: Float[Tensor, " look"]
    strides: Float[Tensor, " look"]  # tokens from one line of the level's frame to the next
    firsts: Int[Tensor, "batch 1 look"]  # row of the level's token (0, 0) and the look's head

    @classmethod
    def of(
        cls,
        values: Float[Tensor, "batch token channel"],
        sizes: tuple[Size, ...],
        *,
        heads: int,
        points: int,
    ) -> "Table":
        """The table of all levels of all photos."""
        frames = tuple((height + 3, width + 3) for height, width in sizes)
        counts = [height * width for height, width in frames]
        batch, _, channels = values.shape
        device = values.device
        table = torch.zeros((batch, sum(counts), channels), device=device)
        tokens = values.split_with_sizes([height * width for height, width in sizes], dim=1)
        for part, level, size, frame in zip(
            table.split_with_sizes(counts, dim=1), tokens, sizes, frames, strict=True
        ):
            torch.unflatten(part, 1, frame)[:, 1:-2, 1:-2] = torch.unflatten(level, 1, size)

        framed = torch.tensor(frames, dtype=torch.int32, device=device)
        areas = framed.prod(-1, dtype=torch.int32)
        starts = areas.cumsum(0, dtype=torch.int32) - areas + framed[:, 1] + 1  # inside its frame
        photos = torch.arange(batch, dtype=torch.int32, device=device)[:, None, None] * areas.sum()
        every_head = torch.arange(heads, dtype=torch.int32, device=device).repeat_interleave(
            len(sizes) * points
        )

        def spelled(of_level: Tensor) -> Tensor:
            return of_level.repeat_interleave(points).repeat(heads)

        return cls(
            rows=table.view(-1, channels // heads),
            heads=heads,
            widths=spelled((framed[:, 1] - 3).float()),
            heights=spelled((framed[:, 0] - 3).float()),
            strides=spelled(framed[:, 1].float()),
            firsts=(photos + spelled(starts)) * heads + every_head,
        )

    def gather(
        self,
        offsets: Float[Tensor, "batch query look 2"],
        weights: Float[Tensor, "batch query look"],
        *,
        reference_points: Float[Tensor, "query 2"],
    ) -> Float[Tensor, "batch query channel"]:
        """The weighted sum of each query's samples, each of four rows; in float32."""
        left, right_share = _pixels(offsets[..., 0], reference_points[:, :1], self.widths)
        top, lower_share = _pixels(offsets[..., 1], reference_points[:, 1:], self.heights)
        # exact in float32: a level has fewer than 2²⁴ tokens
        first = torch.addcmul(left, top, self.strides).int().mul_(self.heads).add_(self.firsts)
        below = first + (self.heads * self.strides).int()

        lower = lower_share.mul_(weights)
        upper = weights - lower
        lower_right, upper_right = lower * right_share, upper * right_share
        corners = (
            (first, upper.sub_(upper_right)),
            (first + self.heads, upper_right),
            (below, lower.sub_(lower_right)),
            (below + self.heads, lower_right),
        )
        batch, count = offsets.shape[:2]
        bags = (batch * count * self.heads, -1)
        first_corner, *others = (
            F.embedding_bag(index.view(bags), self.rows, mode="sum", per_sample_weights=share.view(bags))
            for index, share in corners
        )
        for corner in others:
            first_corner += corner
        return first_corner.view(batch, count, -1)


def _pixels(
    offsets: Float[Tensor, "batch query look"],
    centres: Float[Tensor, "query 1"],
    lengths: Float[Tensor, " look"],
) -> tuple[Float[Tensor, "batch query look"], Float[Tensor, "batch query look"]]:
    """Along one axis: the last pixel at or before each sample, and the share of the next one; float32.

    Pixels count from 0 to `lengths` - 1; all that lies outside falls on the frame (-1 and `lengths`).
    """
    places = offsets.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    places.addcmul_(centres.float(), lengths).sub_(0.5).clamp_(min=-1)
    torch.minimum(places, lengths, out=places)
    pixels = places.floor()
    return pixels, places.sub_(pixels)
