import torch
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.postprocessing.coat import adjust_void, clip_confidence

probability = st.floats(0, 1, width=32)


def test_certainty_is_the_largest_probability():
    logits = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    torch.testing.assert_close(clip_confidence(logits), torch.tensor([0.5, logits.softmax(-1)[1, 0]]))


def test_with_one_word_clip_is_certain_of_everything():
    assert clip_confidence(torch.tensor([[-5.0], [2.0]])).tolist() == [1.0, 1.0]


@given(probability, probability)
def test_trust_0_changes_nothing(void: float, certain: float):
    void_probs = torch.tensor([void])
    assert torch.equal(adjust_void(void_probs, torch.tensor([certain]), trust=0.0), void_probs)


@given(probability, probability, probability, probability)
def test_objectness_never_falls_and_rises_with_trust(void: float, certain: float, one: float, other: float):
    void_probs, confidence = torch.tensor([void]), torch.tensor([certain])
    less, more = sorted([one, other])
    with_less = adjust_void(void_probs, confidence, trust=less)
    assert adjust_void(void_probs, confidence, trust=more) <= with_less <= void_probs


@given(probability, probability, probability)
def test_it_is_the_papers_formula(objectness: float, certain: float, trust: float):
    # p_obj' = 1 - (1 - p_obj) (1 - γ p_cer)
    expected = 1 - (1 - objectness) * (1 - trust * certain)
    adjusted = 1 - adjust_void(torch.tensor([1 - objectness]), torch.tensor([certain]), trust=trust)
    torch.testing.assert_close(adjusted, torch.tensor([expected]), rtol=0, atol=1e-6)
