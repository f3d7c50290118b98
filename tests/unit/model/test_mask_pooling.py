import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovrcoat.model.mask_pooling import inside_masks, mask_pool


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
def test_equals_loops(height: int, width: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, height, width, generator=generator)
    masks = torch.rand(2, 2, height, width, generator=generator)
    pooled = mask_pool(features, masks)
    for image in range(2):
        for query in range(2):
            total, weight = torch.zeros(3), 0.0
            for row in range(height):
                for column in range(width):
                    share = masks[image, query, row, column]
                    total += share * features[image, :, row, column]
                    weight += share.item()
            torch.testing.assert_close(pooled[image, query], total / (weight + 1e-8), atol=1e-5, rtol=1e-4)


def test_an_empty_mask_gives_zeros():
    features = torch.randn(1, 3, 4, 4)
    masks = torch.zeros(1, 2, 4, 4)
    masks[0, 1] = 1
    pooled = mask_pool(features, masks)
    assert pooled[0, 0].tolist() == [0, 0, 0]
    torch.testing.assert_close(pooled[0, 1], features[0].mean(dim=(1, 2)))


def test_float16_neither_overflows_nor_divides_by_zero():
    """A mask of 300 × 300 pixels has a larger area than float16 can hold, and its epsilon is zero."""
    features = torch.full((1, 3, 300, 300), 2.0, dtype=torch.float16)
    masks = torch.ones(1, 2, 300, 300, dtype=torch.float16)
    masks[0, 1] = 0
    pooled = mask_pool(features, masks)
    assert pooled.dtype == torch.float16
    assert pooled.tolist() == [[[2.0] * 3, [0.0] * 3]]


@pytest.mark.parametrize("pixel", [(0, 0), (2, 3)])
def test_a_mask_of_one_pixel_gives_that_pixel(pixel: tuple[int, int]):
    features, masks = torch.randn(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
    masks[0, 0, pixel[0], pixel[1]] = 1
    torch.testing.assert_close(mask_pool(features, masks)[0, 0], features[0, :, pixel[0], pixel[1]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_inside_masks_are_one_where_the_logit_is_positive(dtype: torch.dtype):
    logits = torch.tensor([[[[-3.0, -0.0, 0.0, 1e-3, 80.0]]]], dtype=dtype, requires_grad=True)
    inside = inside_masks(logits, dtype=torch.float32)
    assert inside.dtype == torch.float32
    assert not inside.requires_grad
    assert inside.tolist() == [[[[0, 0, 0, 1, 1]]]]
    assert logits.min() == -3  # the logits themselves stay
