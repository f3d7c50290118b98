"""Deformable attention's sampling for training on a CPU: one product with a sparse matrix.

Each row of the matrix belongs to a query and a head. It contains the weights of the four pixels around each
sample, so its product with the values is the weighted sum of the samples. Forward and backward passes take
less than half the time of `F.grid_sample` with a weighted sum (docs/nano-levers.md has the measurement).
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ovrcoat.structures import Size

FRAME = (1, 2)  # pixels of zeros before and behind each level: samples outside a level count as zero


def may_use_sparse(values: Tensor) -> bool:
    """Return whether this is training on a CPU, outside compiled code."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def sparse_sample(
    values: Float[Tensor, "batch token channel"],
    offsets: Float[Tensor, "batch query head level point 2"],
    weights: Float[Tensor, "batch query head level point"],
    *,
    reference_points: Float[Tensor, "query 2"],
    sizes: tuple[Size, ...],
) -> Float[Tensor, "batch query channel"]:
    """Return the weighted sum of all bilinear samples, in float32.

    Values, offsets and weights receive gradients.

    Args:
        values: tokens of all levels, row-major, one level after the other.
        offsets: (x, y) in pixels of each level.
        weights: of each sample.
        reference_points: (x, y) of each query as fractions of the padded image.
        sizes: (height, width) of each level.
    """
    batch, count, heads = weights.shape[:3]
    levels = Levels.of(sizes, batch=batch, heads=heads)
    rows = framed_rows(values, sizes, heads=heads)
    # (x, y) in pixels of the level
    lengths = levels.lengths.flip(-1)
    locations = offsets.float() + (reference_points.float()[:, None, None, None] * lengths - 0.5)
    summed = SparseProduct.apply(rows, locations, weights.float(), levels)
    return summed.view(batch, count, -1)


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Positions of the levels in the framed rows."""

    lengths: Float[Tensor, "level 1 2"]  # height and width in pixels
    strides: Int[Tensor, "level 1"]  # rows from one line of a level's frame to the next
    first_rows: Int[Tensor, "batch 1 head level 1"]  # row of the level's pixel (0, 0)
    heads: int

    @classmethod
    def of(cls, sizes: tuple[Size, ...], *, batch: int, heads: int) -> "Levels":
        """Return the positions for a batch."""
        framed = torch.tensor(sizes, dtype=torch.int32) + sum(FRAME)
        areas = framed.prod(dim=-1, dtype=torch.int32)
        starts = areas.cumsum(0, dtype=torch.int32) - areas + FRAME[0] * (framed[:, 1] + 1)
        images = torch.arange(batch, dtype=torch.int32)[:, None, None] * areas.sum(dtype=torch.int32)
        every_head = torch.arange(heads, dtype=torch.int32)[:, None]
        first_rows = (images + starts) * heads + every_head
        return cls(
            lengths=torch.tensor(sizes, dtype=torch.float32)[:, None],
            strides=framed[:, 1:] * heads,
            first_rows=first_rows[:, None, ..., None],
            heads=heads,
        )


def framed_rows(
    values: Float[Tensor, "batch token channel"], sizes: tuple[Size, ...], *, heads: int
) -> Float[Tensor, "row head_channel"]:
    """Return the tokens of all levels with a frame of zeros. A row is one head of one token."""
    counts = [height * width for height, width in sizes]
    framed = [
        F.pad(torch.unflatten(level, 1, size), (0, 0, *FRAME, *FRAME)).flatten(1, 2)
        for level, size in zip(values.float().split_with_sizes(counts, dim=1), sizes, strict=True)
    ]
    return torch.cat(framed, dim=1).view(-1, values.shape[-1] // heads)


class SparseProduct(torch.autograd.Function):
    """Weighted sums of bilinear samples of rows, on a CPU and in float32, with explicit gradients."""

    @staticmethod
    def forward(
        context: Any,
        rows: Float[Tensor, "row channel"],
        locations: Float[Tensor, "batch query head level point 2"],
        weights: Float[Tensor, "batch query head level point"],
        levels: Levels,
    ) -> Float[Tensor, "bag channel"]:
        """Return one row per image, query and head."""
        x, x_fraction = _pixels(locations[..., 0], levels.lengths[..., 1])
        y, y_fraction = _pixels(locations[..., 1], levels.lengths[..., 0])
        index = torch.empty((*weights.shape, 4), dtype=torch.int32)
        first = torch.add(x.int().mul_(levels.heads).add_(levels.first_rows), y.int().mul_(levels.strides))
        torch.add(first, 0, out=index[..., 0])
        torch.add(first, levels.heads, out=index[..., 1])
        first += levels.strides
        torch.add(first, 0, out=index[..., 2])
        torch.add(first, levels.heads, out=index[..., 3])
        coefficients = torch.empty((*weights.shape, 4))
        lower = weights * y_fraction
        upper = weights - lower
        torch.mul(upper, x_fraction, out=coefficients[..., 1])
        torch.sub(upper, coefficients[..., 1], out=coefficients[..., 0])
        torch.mul(lower, x_fraction, out=coefficients[..., 3])
        torch.sub(lower, coefficients[..., 3], out=coefficients[..., 2])
        bags = (weights[..., 0, 0].numel(), -1)
        index, coefficients = index.view(bags), coefficients.view(bags)
        context.save_for_backward(rows, index, coefficients, weights, x_fraction, y_fraction, locations)
        context.levels = levels
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=coefficients)

    @staticmethod
    @once_differentiable
    def backward(
        context: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Return the gradients of rows, locations and weights."""
        rows, index, coefficients, weights, x_fraction, y_fraction, locations = context.saved_tensors
        gradient = gradients[0].contiguous()
        of_rows = None
        if context.needs_input_grad[0]:
            of_rows = transposed_product(index, coefficients, gradient, rows=len(rows))
        corners = products_at(index, gradient, rows).view(*weights.shape, 4)
        # between the left and the right corners, above and below
        above, below = torch.lerp(corners[..., 0::2], corners[..., 1::2], x_fraction[..., None]).unbind(-1)
        right = torch.lerp(
            corners[..., 1] - corners[..., 0], corners[..., 3] - corners[..., 2], y_fraction
        ).mul_(weights)
        down = torch.sub(below, above)
        of_weights = torch.addcmul(above, down, y_fraction)
        of_locations = torch.stack((right, down.mul_(weights)), dim=-1)
        inside = (locations > -1) & (locations < context.levels.lengths.flip(-1))
        return of_rows, of_locations.mul_(inside), of_weights, None


def _pixels(
    locations: Float[Tensor, "batch query head level point"], lengths: Float[Tensor, "level 1"]
) -> tuple[Tensor, Tensor]:
    """Return, along one axis, the last pixel at or before each sample and the fraction of the next one.

    Samples outside are moved to the frame of zeros.
    """
    clamped = torch.minimum(locations.clamp(min=-1), lengths)
    pixels = clamped.floor()
    return pixels, clamped.sub_(pixels)


def transposed_product(
    index: Int[Tensor, "bag look"], coefficients: Float[Tensor, "bag look"], gradient: Tensor, *, rows: int
) -> Float[Tensor, "row channel"]:
    """Add `coefficients[r, k] · gradient[r]` to row `index[r, k]`; SciPy's matrix uses the same memory.

    PyTorch would sort the indices first, which takes ten times as long.
    """
    import numpy as np
    from scipy import sparse  # takes 0.1 s; only training needs it

    bags, samples = index.shape
    starts = np.arange(0, bags * samples + 1, samples, dtype=np.int32)
    parts = (coefficients.detach().numpy().ravel(), index.numpy().ravel(), starts)
    matrix = sparse.csc_array(parts, shape=(rows, bags), copy=False)
    return torch.from_numpy(matrix @ gradient.numpy())


def products_at(
    index: Int[Tensor, "bag look"], gradient: Float[Tensor, "bag channel"], rows: Tensor
) -> Float[Tensor, "bag look"]:
    """Return `gradient[r] · rows[index[r, k]]` for each sample."""
    bags, samples = index.shape
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return torch.stack(
            [(rows[index[:, sample]] * gradient).sum(dim=-1) for sample in range(samples)], dim=-1
        )
    starts = torch.arange(0, bags * samples + 1, samples, dtype=torch.int32)
    zeros = torch.zeros(bags * samples)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            starts, index.flatten(), zeros, (bags, len(rows)), check_invariants=False
        )
    return torch.sparse.sampled_addmm(pattern, gradient, rows.T, beta=0).values().view(bags, samples)
