import pytest
import torch
from torch.nn import functional as F

from ovrcoat.training.losses import UNNAMED, Targets
from ovrcoat.training.matcher import Assignment
from ovrcoat.training.ovr import OvrForm, ovr_loss


def targets(*category_ids: int) -> Targets:
    masks = torch.ones(len(category_ids), 4, 4, dtype=torch.bool)
    return Targets(masks, torch.tensor(category_ids, dtype=torch.long), torch.ones(4, 4, dtype=torch.bool))


def pairs(queries: list[int], matched: list[int]) -> Assignment:
    return Assignment(torch.tensor(queries, dtype=torch.long), torch.tensor(matched, dtype=torch.long))


LOGITS = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)) * 10


@pytest.mark.parametrize("form", ["logits", "probabilities"])
def test_each_form_is_its_formula(form: OvrForm):
    """The mean over the matched queries of both images, against their targets' categories."""
    logits = LOGITS.clone().requires_grad_()
    assignments = [pairs([1, 4], [1, 0]), pairs([0], [0])]
    term = ovr_loss(logits, [targets(2, 0), targets(1)], assignments, weight=0.1, form=form)
    chosen = LOGITS[[0, 0, 1], [1, 4, 0]]
    predictions = chosen if form == "logits" else chosen.softmax(-1)
    expected = F.cross_entropy(predictions, torch.tensor([0, 2, 1]))
    torch.testing.assert_close(term.value(), 0.1 * expected)
    term.value().backward()
    assert logits.grad is not None
    reached = logits.grad.abs().sum(-1) > 0
    assert reached.nonzero().tolist() == [[0, 1], [0, 4], [1, 0]]


def test_the_second_softmax_weakens_the_gradient():
    wrong = torch.tensor([[[9.0, 0.0, 0.0]]])
    norms = {}
    for form in ("logits", "probabilities"):
        logits = wrong.clone().requires_grad_()
        ovr_loss(logits, [targets(1)], [pairs([0], [0])], weight=1.0, form=form).value().backward()
        assert logits.grad is not None
        norms[form] = logits.grad.norm()
    assert norms["probabilities"] < 0.01 * norms["logits"]


def test_unnamed_targets_have_no_ovr_loss():
    both = ovr_loss(LOGITS[:1], [targets(2, UNNAMED)], [pairs([1, 2], [0, 1])], weight=1.0, form="logits")
    alone = ovr_loss(LOGITS[:1], [targets(2)], [pairs([1], [0])], weight=1.0, form="logits")
    torch.testing.assert_close(both.value(), alone.value())


@pytest.mark.parametrize("form", ["logits", "probabilities"])
def test_a_batch_without_named_targets_gives_zero_and_a_gradient_of_zero(form: OvrForm):
    logits = LOGITS.clone().requires_grad_()
    nothing = [targets(UNNAMED), targets()]
    term = ovr_loss(logits, nothing, [pairs([3], [0]), pairs([], [])], weight=0.1, form=form)
    assert term.value() == 0
    term.value().backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()
