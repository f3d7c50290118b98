"""Background classes take part, and otherwise stay out of the way."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.postprocessing.background import MIN_RATIO, resolve_background
from ovrcoat.structures import ScoredMasks


def scored(probs: list[list[float]]) -> ScoredMasks:
    count = len(probs)
    half = torch.full((count,), 0.5)
    return ScoredMasks(torch.zeros(count, 2, 2), torch.tensor(probs), half, half, half)


def sides(probs: list[list[float]], visible: int) -> list[list[float]]:
    return [
        [round(p, 4) for p in row]
        for row in resolve_background(scored(probs), visible=visible).category_probs.tolist()
    ]


def test_a_mask_that_is_one_of_the_words_gets_back_what_hidden_ones_took():
    assert sides([[0.3, 0.1, 0.4, 0.2]], visible=2) == [[0.75, 0.25, 0.0, 0.0]]


def test_a_mask_that_is_clearly_something_hidden_leaves_the_words():
    assert sides([[0.2, 0.1, 0.5, 0.2]], visible=2) == [[0.0, 0.0, 0.7143, 0.2857]]


def test_exactly_the_ratio_is_not_enough():
    assert MIN_RATIO == 2
    assert sides([[0.25, 0.25, 0.5]], visible=2) == [[0.5, 0.5, 0.0]]


def test_without_hidden_words_nothing_changes():
    masks = scored([[0.3, 0.7]])
    assert resolve_background(masks, visible=2) is masks


def test_no_mask_at_all():
    empty = torch.zeros(0)
    masks = ScoredMasks(torch.zeros(0, 2, 2), torch.zeros(0, 3), empty, empty, empty)
    assert resolve_background(masks, visible=1).category_probs.shape == (0, 3)


def test_everything_else_stays():
    masks = scored([[0.2, 0.8]])
    sided = resolve_background(masks, visible=1)
    assert torch.equal(sided.objectness, masks.objectness)
    assert torch.equal(sided.clip_confidence, masks.clip_confidence)
    assert masks.category_probs[0].tolist() == pytest.approx([0.2, 0.8])  # not changed in place


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
def test_laws(visible, background, seed):
    logits = 3 * torch.randn(4, visible + background, generator=torch.Generator().manual_seed(seed))
    masks = scored(logits.softmax(-1).tolist())
    probs = resolve_background(masks, visible=visible).category_probs
    assert torch.allclose(probs.sum(-1), torch.ones(4), atol=1e-5)
    # one side is empty, and within the other nothing changes its order
    assert bool(((probs[:, :visible].sum(-1) == 0) ^ (probs[:, visible:].sum(-1) == 0)).all())
    before = masks.category_probs[:, :visible].argmax(-1)
    after = probs[:, :visible].argmax(-1)
    shown = probs[:, :visible].sum(-1) > 0
    assert torch.equal(before[shown], after[shown])
