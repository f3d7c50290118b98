"""Random points at which the losses sample masks, most of them where a mask is least certain (PointRend)."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

OVERSAMPLE = 3  # candidates per uncertain point (PointRend, Mask2Former)
UNCERTAIN_SHARE = 0.75  # share of the points that are the least certain candidates (same source)


@runtime_checkable
class PointSource(Protocol):
    """Chooses points, given as (x, y) fractions of the padded width and height."""

    def for_matching(self, image: int, *, prediction: int, count: int) -> Float[Tensor, "point 2"]:
        """Return points for matching. They are shared by all masks of an image."""

    def for_losses(
        self, mask_logits: Sequence[Float[Tensor, "_ height width"]], *, prediction: int, count: int
    ) -> Float[Tensor, "mask point 2"]:
        """Return points for the losses: own points for each matched mask, concatenated over the images."""


class RandomPoints:
    """Draws points from one random generator per image, independent of the other images of the batch.

    Args:
        seeds: one for each image of the batch.
        device: of the points.
    """

    def __init__(self, seeds: Sequence[int], *, device: torch.device) -> None:
        self._device = device
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def for_matching(self, image: int, *, prediction: int, count: int) -> Float[Tensor, "point 2"]:
        """Return uniformly distributed points, different ones for each prediction."""
        return self._uniform(image, count)

    def for_losses(
        self, mask_logits: Sequence[Float[Tensor, "_ height width"]], *, prediction: int, count: int
    ) -> Float[Tensor, "mask point 2"]:
        """Return the least certain of three times as many candidates, followed by uniform points."""
        uncertain = int(UNCERTAIN_SHARE * count)
        chosen = []
        for image, masks in enumerate(mask_logits):
            candidates = self._uniform(image, len(masks), OVERSAMPLE * count)
            uniform = self._uniform(image, len(masks), count - uncertain)
            chosen.append(torch.cat((least_certain(masks, candidates, keep=uncertain), uniform), dim=1))
        return torch.cat(chosen)

    def _uniform(self, image: int, *shape: int) -> Float[Tensor, "*shape 2"]:
        return torch.rand(*shape, 2, generator=self._generators[image], device=self._device)


@torch.no_grad()
def least_certain(
    mask_logits: Float[Tensor, "mask height width"], candidates: Float[Tensor, "mask point 2"], *, keep: int
) -> Float[Tensor, "mask kept 2"]:
    """Return the `keep` candidates of each mask whose logits are closest to zero."""
    uncertainty = -sample_points(mask_logits, candidates).abs()
    chosen = uncertainty.topk(keep, dim=1).indices[..., None].expand(-1, -1, 2)
    return candidates.gather(1, chosen)


def sample_points(
    maps: Float[Tensor, "map height width"], points: Float[Tensor, "map point 2"]
) -> Float[Tensor, "map point"]:
    """Sample maps at (x, y) fractions of width and height: bilinear, zero outside, in float32."""
    return _sample(maps[:, None], points)[:, 0]


def sample_shared_points(
    maps: Float[Tensor, "map height width"], points: Float[Tensor, "point 2"]
) -> Float[Tensor, "map point"]:
    """Sample all maps at the same points. Faster than `sample_points` with repeated points."""
    return _sample(maps[None], points[None])[0]


def _sample(
    maps: Float[Tensor, "batch channel height width"], points: Float[Tensor, "batch point 2"]
) -> Float[Tensor, "batch channel point"]:
    grid = (2 * points - 1)[:, :, None]  # batch, point, 1, xy
    sampled = F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled[..., 0]


def sample_masks(
    masks: Bool[Tensor, "mask height width"],
    points: Float[Tensor, "#row point 2"],
    *,
    rows: Int[Tensor, " row"],
) -> Float[Tensor, "row point"]:
    """Sample `masks[rows]` like `sample_points`, without copying or converting a mask.

    Args:
        masks: at full size.
        points: for each row, or one set for all rows.
        rows: indices of the masks to sample.
    """
    size = points.new_tensor([masks.shape[-1], masks.shape[-2]])
    # one fused multiply-add, which gives bit-identical positions to grid_sample for random points
    positions = torch.addcmul(points.new_tensor(-0.5), 2 * points, size / 2)
    corner = positions.floor()
    right, down = (positions - corner).unbind(-1)
    column, row = corner.long().unbind(-1)
    left, up = 1 - right, 1 - down
    return (
        _pixels_at(masks, rows, row, column) * (up * left)
        + _pixels_at(masks, rows, row, column + 1) * (up * right)
        + _pixels_at(masks, rows, row + 1, column) * (down * left)
        + _pixels_at(masks, rows, row + 1, column + 1) * (down * right)
    )


def _pixels_at(
    masks: Bool[Tensor, "mask height width"],
    rows: Int[Tensor, " row"],
    row: Int[Tensor, "#row point"],
    column: Int[Tensor, "#row point"],
) -> Bool[Tensor, "row point"]:
    """Read single pixels; False outside."""
    height, width = masks.shape[-2:]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return masks[rows[:, None], row.clamp(0, height - 1), column.clamp(0, width - 1)] & inside
