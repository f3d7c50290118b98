import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.mask_extent import INITIAL_DEVIATION, STRENGTH, MaskExtent, add_extents
from ovrcoat.structures import QuerySelection

CHANNELS = 8


def selection(*cells: int, height: int = 4, width: int = 6) -> QuerySelection:
    """Queries of one image that start at these cells."""
    features = torch.zeros(1, len(cells), CHANNELS)
    return QuerySelection(torch.zeros(1, height, width), torch.tensor([cells]), features, features)


def extent(*output: float) -> MaskExtent:
    """One that predicts the same output for each query."""
    module = MaskExtent(CHANNELS)
    last = module.head.layers[-1]
    assert isinstance(last, nn.Linear)
    last.bias.data = torch.tensor(output, dtype=torch.float32)
    return module


def maps(module: MaskExtent, start: QuerySelection, *, height: int, width: int) -> Tensor:
    """The logits that are added to empty masks."""
    count = start.cells.shape[1]
    queries = torch.randn(1, count, CHANNELS, generator=torch.Generator().manual_seed(0))
    empty = torch.zeros(1, count, height, width)
    return add_extents(empty, module(queries, start), size=(height, width))[0].detach()


def test_before_training_masks_are_hardly_limited():
    found = maps(MaskExtent(CHANNELS), selection(0), height=8, width=12)[0]
    assert found.max() <= 0
    assert found.min() > -0.05


def test_logits_decrease_with_the_distance_from_the_start():
    found = maps(extent(0, 0, -3, -3), selection(8), height=4, width=6)[0]  # cell 8: row 1, column 2
    assert found[1, 2] == found.max() == 0
    assert (found[1].diff()[2:] < 0).all()
    assert (found[1].diff()[:2] > 0).all()
    assert torch.equal(found[0], found[2])  # as far above as below


def test_the_map_of_starts_and_the_masks_can_have_different_sizes():
    found = maps(extent(0, 0, -3, -3), selection(8), height=8, width=12)[0]
    # row 1, column 2 of 4 × 6 cells are rows 2 and 3, columns 4 and 5 of 8 × 12 pixels
    assert torch.allclose(found[2:4, 4:6], found.max().expand(2, 2))
    assert (found == found.max()).sum() == 4


def test_the_predicted_center_and_size_are_in_cells():
    down, left = 2.0, 1.0
    deviation = INITIAL_DEVIATION * math.exp(-2)
    found = maps(extent(down, -left, -2, 0), selection(8), height=4, width=6)[0]
    assert found.argmax() == 3 * 6 + 1
    above = found[2, 1].item()  # one cell above the center
    assert above == pytest.approx(-STRENGTH / deviation**2, rel=0.01)
    aside = found[3, 2].item()
    assert aside == pytest.approx(-STRENGTH / INITIAL_DEVIATION**2, rel=0.01)


def test_far_from_a_small_mask_logits_are_finite_in_float16():
    found = maps(extent(0, 0, -50, -50), selection(0, height=200, width=200), height=400, width=400)
    assert found.half().isfinite().all()
    assert found.min() < -100


def test_extents_are_the_same_before_and_after_resizing():
    module, start = extent(0.3, -0.2, -2, -3), selection(3, 8, 20)
    queries, mask_logits = torch.randn(1, 3, CHANNELS), torch.randn(1, 5, 16, 24)
    extents = module(queries, start)

    def resized(logits: Tensor) -> Tensor:
        return F.interpolate(logits, size=(5, 7), mode="bilinear", align_corners=False)

    after = add_extents(resized(mask_logits), extents, size=(16, 24))
    torch.testing.assert_close(after, resized(add_extents(mask_logits, extents, size=(16, 24))))


def test_only_the_last_masks_have_an_extent():
    module, start = extent(0, 0, -2, -2), selection(3, 8)
    mask_logits = torch.randn(1, 5, 8, 12)
    found = add_extents(mask_logits, module(torch.randn(1, 2, CHANNELS), start), size=(8, 12))
    assert torch.equal(found[:, :3], mask_logits[:, :3])
    assert (found[:, 3:] <= mask_logits[:, 3:]).all()
    assert not torch.equal(found[:, 3:], mask_logits[:, 3:])
