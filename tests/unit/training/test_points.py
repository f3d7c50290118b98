import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovrcoat.training.points import (
    RandomPoints,
    least_certain,
    sample_masks,
    sample_points,
    sample_shared_points,
)

CPU = torch.device("cpu")


def test_points_are_x_and_y_fractions():
    maps = torch.arange(6.0).reshape(1, 2, 3)
    centers = torch.tensor([[[1 / 6, 0.25], [0.5, 0.25], [5 / 6, 0.75]]])
    torch.testing.assert_close(sample_points(maps, centers), torch.tensor([[0.0, 1.0, 5.0]]))
    between = torch.tensor([[[1 / 3, 0.25], [0.5, 0.5], [0.0, 0.25], [2.0, 2.0]]])
    expected = torch.tensor([[0.5, 2.5, 0.0, 0.0]])  # at the border half of the sample is outside
    torch.testing.assert_close(sample_points(maps, between), expected, atol=1e-5, rtol=0)


def test_three_quarters_of_the_points_lie_where_a_mask_is_uncertain():
    columns = torch.linspace(-8, 8, 16).expand(2, 16, 16)  # certain at both sides, uncertain in the middle
    points = RandomPoints([0], device=CPU).for_losses([columns], prediction=0, count=100)
    assert points.shape == (2, 100, 2)
    assert points.min() >= 0
    assert points.max() <= 1
    # 75 of 300 candidates, the least certain quarter, are in the middle quarter; 25 anywhere
    distance = (points[..., 0] - 0.5).abs()
    assert distance[:, :75].max() < 0.2
    assert distance[:, 75:].max() > 0.3


def test_the_least_certain_candidates_are_kept():
    mask = torch.tensor([[[-9.0, 0.5, 3.0, -1.0]]])
    candidates = torch.tensor([[[0.125, 0.5], [0.375, 0.5], [0.625, 0.5], [0.875, 0.5]]])
    kept = least_certain(mask, candidates, keep=2)
    assert sorted(kept[0, :, 0].tolist()) == pytest.approx([0.375, 0.875])


def test_the_points_of_a_image_depend_on_its_seed_and_not_on_its_batch_mates():
    masks = torch.randn(2, 8, 8)
    alone = RandomPoints([5], device=CPU)
    in_batch = RandomPoints([9, 5], device=CPU)
    for prediction in range(2):
        one = alone.for_matching(0, prediction=prediction, count=20)
        other = in_batch.for_matching(1, prediction=prediction, count=20)
        assert torch.equal(one, other)
        assert not torch.equal(one, in_batch.for_matching(0, prediction=prediction, count=20))
        both = in_batch.for_losses([masks, masks], prediction=prediction, count=20)
        assert torch.equal(alone.for_losses([masks], prediction=prediction, count=20), both[2:])


def test_every_prediction_gets_fresh_points():
    points = RandomPoints([0], device=CPU)
    first, second = (points.for_matching(0, prediction=number, count=9) for number in range(2))
    assert not torch.equal(first, second)


def test_the_caller_s_random_state_stays():
    before = torch.get_rng_state()
    RandomPoints([0], device=CPU).for_matching(0, prediction=0, count=9)
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_masks_are_read_as_their_numbers_would_be(height: int, width: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, height, width, generator=generator) > 0.5
    points = torch.rand(4, 30, 2, generator=generator)
    points[:, :4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    rows = torch.tensor([2, 0, 1, 0])
    expected = sample_points(masks[rows].float(), points)
    torch.testing.assert_close(sample_masks(masks, points, rows=rows), expected, atol=2e-6, rtol=0)
    shared = sample_points(masks[rows].float(), points[:1].expand(4, -1, -1))
    torch.testing.assert_close(sample_masks(masks, points[:1], rows=rows), shared, atol=2e-6, rtol=0)


def test_reading_no_mask_gives_nothing():
    masks, rows = torch.zeros(0, 4, 4, dtype=torch.bool), torch.zeros(0, dtype=torch.long)
    assert sample_masks(masks, torch.rand(1, 5, 2), rows=rows).shape == (0, 5)


def test_maps_are_read_alike_at_shared_points():
    maps, points = torch.randn(3, 6, 5), torch.rand(7, 2)
    torch.testing.assert_close(
        sample_shared_points(maps, points), sample_points(maps, points.expand(3, -1, -1)), atol=0, rtol=0
    )
    rough = maps.bfloat16()
    torch.testing.assert_close(
        sample_shared_points(rough, points), sample_shared_points(rough.float(), points)
    )
