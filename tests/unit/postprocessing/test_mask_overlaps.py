"""Overlaps of masks and regions equal the plain count."""

import numpy as np
import pytest
import torch

from ovrcoat.postprocessing.mask_overlaps import Overlaps, mask_overlaps
from ovrcoat.postprocessing.upsampling import ImageSizes, upsample_tiles


@pytest.mark.parametrize("output", [(40, 56), (13, 90)])
def test_shared_pixels_are_counted(output: tuple[int, int]):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(5, 16, 16, generator=generator)
    sizes = ImageSizes(padded=(64, 64), valid=(40, 56), output=output)
    regions = np.random.default_rng(3).integers(-1, 4, size=output, dtype=np.int32)
    found = mask_overlaps(logits, sizes, regions, region_count=5)
    masks = torch.cat([tile for _, tile in upsample_tiles(logits, sizes)], dim=1).numpy() >= 0
    for region in range(5):
        assert found.regions[region] == (regions == region).sum()
        assert (found.shared[:, region] == (masks & (regions == region)).sum(axis=(1, 2))).all()


def test_pixels_of_no_region_leave_the_union():
    overlaps = Overlaps(shared=np.array([[3, 1], [0, 0]]), regions=np.array([4, 2]))
    assert overlaps.ious().tolist() == [[3 / 5, 1 / 5], [0.0, 0.0]]


def test_no_masks_and_no_regions():
    sizes = ImageSizes(padded=(32, 32), valid=(32, 32), output=(8, 8))
    nothing = np.full((8, 8), -1, dtype=np.int32)
    assert mask_overlaps(torch.zeros(0, 8, 8), sizes, nothing, region_count=2).shared.shape == (0, 2)
    assert mask_overlaps(torch.zeros(3, 8, 8), sizes, nothing, region_count=0).ious().shape == (3, 0)
