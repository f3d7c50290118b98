"""Where the losses look at masks: random points, most of them where a mask is least certain (PointRend)."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

OVERSAMPLE = 3  # candidates per kept point (PointRend, Mask2Former)
UNCERTAIN_SHARE = 0.75  # of the points are the least certain candidates (same source)


@runtime_checkable
class PointSource(Protocol):
    """Chooses points as (x, y) fractions of the padded width and height."""

    def for_matching(self, photo: int, *, prediction: int, count: int) -> Float[Tensor, "point 2"]:
        """Points at which all masks of one photo are compared."""

    def for_losses(
        self, mask_logits: Sequence[Float[Tensor, "_ height width"]], *, prediction: int, count: int
    ) -> Float[Tensor, "mask point 2"]:
        """Points of every matched mask, photo by photo."""


class RandomPoints:
    """Points from one random generator per photo, so that they do not depend on its batch mates.

    `seeds` has one number per photo of the batch.
    """

    def __init__(self, seeds: Sequence[int], *, device: torch.device) -> None:
        self._device = device
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def for_matching(self, photo: int, *, prediction: int, count: int) -> Float[Tensor, "point 2"]:
        """Uniform points; every prediction gets fresh ones."""
        return self._uniform(photo, count)

    def for_losses(
        self, mask_logits: Sequence[Float[Tensor, "_ height width"]], *, prediction: int, count: int
    ) -> Float[Tensor, "mask point 2"]:
        """The least certain of three times as many candidates, and some anywhere."""
        uncertain = int(UNCERTAIN_SHARE * count)
        chosen = []
        for photo, masks in enumerate(mask_logits):
            candidates = self._uniform(photo, len(masks), OVERSAMPLE * count)
            anywhere = self._uniform(photo, len(masks), count - uncertain)
            chosen.append(torch.cat((least_certain(masks, candidates, keep=uncertain), anywhere), dim=1))
        return torch.cat(chosen)

    def _uniform(self, photo: int, *shape: int) -> Float[Tensor, "*shape 2"]:
        return torch.rand(*shape, 2, generator=self._generators[photo], device=self._device)


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
    """Read maps at (x, y) fractions of width and height: bilinear, zero outside."""
    grid = (2 * points - 1)[:, :, None]  # map, point, 1, xy
    sampled = F.grid_sample(maps[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled[:, 0, :, 0]
