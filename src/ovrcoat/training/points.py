"""Where the losses look at masks: random points, most of them where a mask is least certain (PointRend)."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

OVERSAMPLE = 3  # candidates per kept point (PointRend, Mask2Former)
UNCERTAIN_SHARE = 0.75  # of the points are the least certain candidates (same source)


@runtime_checkable
class PointSource(Protocol):
    """Chooses points as (x, y) fractions of the padded width and height."""

    def for_matching(self, image: int, *, prediction: int, count: int) -> Float[Tensor, "point 2"]:
        """Points at which all masks of one image are compared."""

    def for_losses(
        self, mask_logits: Sequence[Float[Tensor, "_ height width"]], *, prediction: int, count: int
    ) -> Float[Tensor, "mask point 2"]:
        """Points of every matched mask, image by photo."""


class RandomPoints:
    """Points from one random generator per image, so that they do not depend on its batch mates.

    `seeds` has one number per photo of the batch.
    """

    def __init__(self, seeds: Sequence[int], *, device: torch.device) -> None:
        self._device = device
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def for_matching(self, image: int, *, prediction: int, count: int) -> Float[Tensor, "point 2"]:
        """Uniform points; every prediction gets fresh ones."""
        return self._uniform(image, count)

    def for_losses(
        self, mask_logits: Sequence[Float[Tensor, "_ height width"]], *, prediction: int, count: int
    ) -> Float[Tensor, "mask point 2"]:
        """The least certain of three times as many candidates, and some anywhere."""
        uncertain = int(UNCERTAIN_SHARE * count)
        chosen = []
        for image, masks in enumerate(mask_logits):
            candidates = self._uniform(image, len(masks), OVERSAMPLE * count)
            anywhere = self._uniform(image, len(masks), count - uncertain)
            chosen.append(torch.cat((least_certain(masks, candidates, keep=uncertain), anywhere), dim=1))
        return torch.cat(chosen)

    def _uniform(self, image: int, *shape: int) -> Float[Tensor, "*shape 2"]:
        return torch.rand(*shape, 2, generator=self._generators[image], device=self._device)


@torch.no_grad()
def least_certain(
    mask_logits: Float[Tensor, "mask height width"], candidates: Float[Tensor, "mask point 2"], *, keep: int
) -> Float[Tensor, "mask kept 2"]:
    """Those `keep` candidates of each mask whose logits are nearest zero."""
    doubt = -sample_points(mask_logits, candidates).abs()
    chosen = doubt.topk(keep, dim=1).indices[..., None].expand(-1, -1, 2)
    return candidates.gather(1, chosen)


def sample_points(
    maps: Float[Tensor, "map height width"], points: Float[Tensor, "map point 2"]
) -> Float[Tensor, "map point"]:
    """Read maps at (x, y) fractions of width and height, in float32: bilinear, zero outside."""
    return _read(maps[:, None], points)[:, 0]


def sample_shared_points(
    maps: Float[Tensor, "map height width"], points: Float[Tensor, "point 2"]
) -> Float[Tensor, "map point"]:
    """The same, with all maps read at the same points: their places are computed once."""
    return _read(maps[None], points[None])[0]


def _read(
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
    """What `sample_points` gives for `masks[rows]` as numbers, without a copy of a mask in any type.

    One set of points serves all rows.
    """
    size = points.new_tensor([masks.shape[-1], masks.shape[-2]])
    # multiplied and added in one go: as grid_sample places random points, bit by bit
    places = torch.addcmul(points.new_tensor(-0.5), 2 * points, size / 2)
    corner = places.floor()
    right, down = (places - corner).unbind(-1)
    column, row = corner.long().unbind(-1)
    left, up = 1 - right, 1 - down
    return (
        _at(masks, rows, row, column) * (up * left)
        + _at(masks, rows, row, column + 1) * (up * right)
        + _at(masks, rows, row + 1, column) * (down * left)
        + _at(masks, rows, row + 1, column + 1) * (down * right)
    )


def _at(
    masks: Bool[Tensor, "mask height width"],
    rows: Int[Tensor, " row"],
    row: Int[Tensor, "#row point"],
    column: Int[Tensor, "#row point"],
) -> Bool[Tensor, "row point"]:
    """Single pixels; False outside."""
    height, width = masks.shape[-2:]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return masks[rows[:, None], row.clamp(0, height - 1), column.clamp(0, width - 1)] & inside
