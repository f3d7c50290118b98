import torch
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.postprocessing.stability import stability


@given(st.integers(0, 1000), st.integers(1, 5))
def test_it_is_an_iou_and_grows_with_contrast(seed: int, queries: int):
    logits = torch.randn(queries, 6, 7, generator=torch.Generator().manual_seed(seed))
    found = stability(logits)
    assert ((found >= 0) & (found <= 1)).all()
    assert (stability(10 * logits) >= found).all()


def test_a_crisp_mask_is_stable_and_a_blurred_one_is_not():
    crisp = torch.full((4, 4), -9.0)
    crisp[:2] = 9.0
    blurred = torch.linspace(-2, 2, 16).view(4, 4)
    empty = torch.full((4, 4), -3.0)
    found = stability(torch.stack((crisp, blurred, empty)))
    torch.testing.assert_close(found, torch.tensor([1.0, 4 / 12, 0.0]))


def test_no_mask():
    assert stability(torch.zeros(0, 4, 4)).shape == (0,)
