import pytest
import torch

from ovrcoat.postprocessing.ensemble import ensemble

IN = torch.tensor([[2.0, 0.5, -1.0], [0.0, 3.0, 1.0]])
OUT = torch.tensor([[-1.0, 2.0, 0.3], [1.0, 0.0, 4.0]])
SEEN = torch.tensor([True, False, True])


def test_it_is_the_renormalised_geometric_mean():
    probs = ensemble(IN, OUT, seen=SEEN, alpha=0.4, beta=0.8)
    weight = torch.tensor([0.4, 0.8, 0.4])
    product = IN.softmax(-1) ** (1 - weight) * OUT.softmax(-1) ** weight
    torch.testing.assert_close(probs, product / product.sum(-1, keepdim=True))
    torch.testing.assert_close(probs.sum(-1), torch.ones(2))


@pytest.mark.parametrize(("weight", "expected"), [(0.0, IN), (1.0, OUT)])
def test_the_ends_are_one_classifier_alone(weight: float, expected: torch.Tensor):
    probs = ensemble(IN, OUT, seen=SEEN, alpha=weight, beta=weight)
    torch.testing.assert_close(probs, expected.softmax(-1))


def test_clip_has_no_say_for_masks_off_its_map():
    probs = ensemble(IN, OUT, seen=SEEN, alpha=0.4, beta=0.8, valid_mask=torch.tensor([True, False]))
    both = ensemble(IN, OUT, seen=SEEN, alpha=0.4, beta=0.8)
    torch.testing.assert_close(probs[0], both[0])
    torch.testing.assert_close(probs[1], IN.softmax(-1)[1])


def test_permuting_the_vocabulary_permutes_the_probabilities():
    order = torch.tensor([2, 0, 1])
    permuted = ensemble(IN[:, order], OUT[:, order], seen=SEEN[order], alpha=0.4, beta=0.8)
    torch.testing.assert_close(permuted, ensemble(IN, OUT, seen=SEEN, alpha=0.4, beta=0.8)[:, order])


def test_probabilities_that_underflow_give_no_nan():
    probs = ensemble(1e4 * IN, -1e4 * OUT, seen=SEEN, alpha=0.0, beta=1.0)
    assert torch.isfinite(probs).all()


def test_no_query_and_a_single_category():
    assert ensemble(IN[:0], OUT[:0], seen=SEEN, alpha=0.4, beta=0.8).shape == (0, 3)
    assert ensemble(IN[:, :1], OUT[:, :1], seen=SEEN[:1], alpha=0.4, beta=0.8).tolist() == [[1.0], [1.0]]
