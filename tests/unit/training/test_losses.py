import pytest
import torch
from torch import Tensor

from ovrcoat.training.losses import (
    UNNAMED,
    LayerPrediction,
    LossTerm,
    Targets,
    category_loss,
    labeled_share,
    mask_losses,
    matched_losses,
    segmentation_loss,
    target_probabilities,
)
from ovrcoat.training.matcher import Assignment, LossWeights, match, matching_cost
from ovrcoat.training.points import RandomPoints, sample_points

WEIGHTS = LossWeights()
QUERIES, CATEGORIES = 4, 3


def halves(category_ids: tuple[int, int] = (2, 0)) -> Targets:
    """An image of 32 × 32 pixels whose left and right half are one target each."""
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, :, :16] = True
    masks[1, :, 16:] = True
    return Targets(masks, torch.tensor(category_ids), torch.ones(32, 32, dtype=torch.bool))


def nothing(*, labeled: bool) -> Targets:
    """An image without targets."""
    known = torch.full((32, 32), labeled)
    return Targets(torch.zeros(0, 32, 32, dtype=torch.bool), torch.zeros(0, dtype=torch.long), known)


def perfect(targets: Targets, *, sharpness: float = 8.0) -> LayerPrediction:
    """Query i predicts target i, the others void; masks at stride 4."""
    count = len(targets.category_ids)
    mask_logits = torch.full((1, QUERIES, 8, 8), -sharpness)
    category_logits = torch.zeros(1, QUERIES, CATEGORIES)
    void_logits = torch.full((1, QUERIES), sharpness)
    mask_logits[0, :count] = sharpness * (2.0 * targets.masks[:, ::4, ::4] - 1)
    void_logits[0, :count] = -sharpness
    for query, category in enumerate(targets.category_ids.tolist()):
        category_logits[0, query, category] = sharpness
    return LayerPrediction(mask_logits, category_logits, void_logits)


def undecided(batch: int = 1) -> LayerPrediction:
    """Random predictions that learn."""
    torch.manual_seed(0)
    return LayerPrediction(
        torch.randn(batch, QUERIES, 8, 8).requires_grad_(),
        torch.randn(batch, QUERIES, CATEGORIES).requires_grad_(),
        torch.randn(batch, QUERIES).requires_grad_(),
    )


def log_probs_of(prediction: LayerPrediction) -> Tensor:
    joined = torch.cat((prediction.category_logits, prediction.void_logits[..., None]), dim=-1)
    return joined.log_softmax(dim=-1)


def pairs(queries: list[int], targets: list[int]) -> Assignment:
    return Assignment(torch.tensor(queries, dtype=torch.long), torch.tensor(targets, dtype=torch.long))


def loss_of(
    prediction: LayerPrediction, *targets: Targets, weights: LossWeights = WEIGHTS, layers: int = 1
) -> dict[str, Tensor]:
    loss = segmentation_loss(
        [prediction] * layers,
        targets,
        weights=weights,
        points=RandomPoints(range(len(targets)), device=torch.device("cpu")),
        point_count=200,
    )
    assert len(loss.assignments) == layers
    return {name: term.value() for name, term in loss.terms.items()}


def test_a_perfect_prediction_costs_almost_nothing():
    terms = loss_of(perfect(halves()), halves())
    assert set(terms) == {"category", "mask", "dice"}
    assert terms["category"] < 0.01
    assert terms["mask"] < 1.0  # points on the border between stride 4 and the truth
    assert terms["dice"] < 0.5
    worse = loss_of(undecided(), halves())
    assert all(worse[name] > 3 * terms[name] for name in terms)


def test_a_wrong_category_costs_only_in_its_term():
    right, wrong = loss_of(perfect(halves()), halves()), loss_of(perfect(halves((1, 0))), halves((2, 0)))
    assert wrong["category"] > 5
    torch.testing.assert_close(wrong["mask"], right["mask"])
    torch.testing.assert_close(wrong["dice"], right["dice"])


def test_every_prediction_counts():
    """Terms are sums over the decoder's layers; each layer is matched at its own random points."""
    once, thrice = loss_of(perfect(halves()), halves()), loss_of(perfect(halves()), halves(), layers=3)
    assert thrice["dice"].item() == pytest.approx(3 * once["dice"].item(), rel=0.5)
    torch.testing.assert_close(thrice["category"], 3 * once["category"])


def test_weights_scale_their_terms():
    doubled = loss_of(perfect(halves()), halves(), weights=LossWeights(category=4.0, mask=12.0, dice=10.0))
    for name, term in loss_of(perfect(halves()), halves()).items():
        torch.testing.assert_close(doubled[name], 2 * term)


def test_without_targets_masks_cost_nothing_and_everything_stays_finite():
    prediction = undecided(2)
    terms = loss_of(prediction, nothing(labeled=True), nothing(labeled=True))
    assert terms["mask"] == terms["dice"] == 0
    expected = -log_probs_of(prediction)[..., -1].mean()  # every query should say void
    torch.testing.assert_close(terms["category"], WEIGHTS.category * expected)
    torch.stack([*terms.values()]).sum().backward()
    for tensor in (prediction.mask_logits, prediction.category_logits, prediction.void_logits):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
    assert prediction.mask_logits.grad is not None
    assert prediction.mask_logits.grad.abs().max() == 0


def test_an_image_without_targets_beside_one_with():
    terms = loss_of(undecided(2), nothing(labeled=True), halves())
    assert all(torch.isfinite(term) and term > 0 for term in terms.values())


def test_unknown_pixels_contribute_no_void_loss_and_void_pixels_do():
    for labeled in (False, True):
        prediction = undecided()
        terms = loss_of(prediction, nothing(labeled=labeled))
        torch.stack([*terms.values()]).sum().backward()
        gradient = prediction.void_logits.grad
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).all() if labeled else (gradient == 0).all()
        assert [term.item() == 0 for term in terms.values()] == [not labeled, True, True]


def test_the_void_loss_of_a_free_query_is_weighted_by_the_labeled_share_of_its_mask():
    """Its gradient is that of the whole void loss times the labeled share of its mask."""
    known = torch.zeros(32, 32, dtype=torch.bool)
    known[:, :8] = True  # a quarter
    target = Targets(torch.zeros(0, 32, 32, dtype=torch.bool), torch.zeros(0, dtype=torch.long), known)
    logits = torch.full((1, QUERIES, 8, 8), 30.0)
    logits[0, 0, :, :2] = -30.0  # only on unknown pixels
    log_probs = torch.zeros(1, QUERIES, CATEGORIES + 1).log_softmax(-1).requires_grad_()
    void_weights = 0.1 * labeled_share(logits[0], target.labeled)[None]
    loss, weight = category_loss(log_probs, [target], assignments=[pairs([], [])], void_weights=void_weights)
    loss.backward()
    assert log_probs.grad is not None
    torch.testing.assert_close(log_probs.grad[0, :, -1], -0.1 * torch.tensor([0.0, 0.25, 0.25, 0.25]))
    torch.testing.assert_close(weight, torch.tensor(0.1 * 0.75))


def test_a_term_is_divided_by_at_least_one_unless_denominators_are_given():
    """A batch without masks gives zero; what several processes have together is taken as it is."""
    term = LossTerm(torch.tensor([3.0, 0.0]), torch.tensor([0.5, 0.0]), weight=2.0)
    assert term.per_prediction().tolist() == [3.0, 0.0]
    assert term.value() == 6
    assert term.divided_by(torch.tensor([0.5, 0.5])).value() == 12


def test_void_counts_by_how_much_of_a_mask_is_labeled():
    labeled = torch.zeros(32, 32, dtype=torch.bool)
    labeled[:, :16] = True
    masks = torch.full((4, 8, 8), -30.0)
    masks[0, :, :4] = 30  # on labeled pixels
    masks[1, :, 4:] = 30  # on unlabeled ones
    masks[2] = 30  # on both
    share = labeled_share(masks, labeled)
    torch.testing.assert_close(share[:3], torch.tensor([1.0, 0.0, 0.5]))
    assert 0 <= share[3] <= 1
    assert labeled_share(masks, None).tolist() == [1, 1, 1, 1]


def test_the_category_term_is_a_weighted_mean():
    prediction = undecided()
    log_probs = log_probs_of(prediction)
    loss, weight = category_loss(
        log_probs,
        [halves((2, 0))],
        assignments=[pairs([1, 3], [1, 0])],
        void_weights=torch.full((1, QUERIES), 0.1),
    )
    expected = -(log_probs[0, 1, 0] + log_probs[0, 3, 2])
    void = -(log_probs[0, 0, -1] + log_probs[0, 2, -1])
    torch.testing.assert_close(loss, expected + 0.1 * void)
    torch.testing.assert_close(weight, torch.tensor(2.2))


def test_a_target_without_a_name_asks_only_for_not_void():
    prediction = undecided()
    log_probs = log_probs_of(prediction)
    loss, _ = category_loss(
        log_probs,
        [halves((UNNAMED, 0))],
        assignments=[pairs([1], [0])],
        void_weights=torch.zeros(1, QUERIES),
    )
    torch.testing.assert_close(loss, -(1 - log_probs[0, 1, -1].exp()).log())
    loss.backward()
    gradient = prediction.category_logits.grad
    assert gradient is not None
    probs = prediction.category_logits[0, 1].detach().softmax(dim=0)
    torch.testing.assert_close(gradient[0, 1] / gradient[0, 1].sum(), probs)  # no category is preferred


def test_a_target_without_a_name_goes_to_the_query_that_is_least_void():
    targets, prediction = halves((UNNAMED, UNNAMED)), perfect(halves())
    same_masks = prediction.mask_logits[0].clone()
    same_masks[2:] = same_masks[:2]
    log_probs = log_probs_of(prediction)[0].roll(2, dims=0)  # now queries 2 and 3 are sure of something
    expected = target_probabilities(log_probs, targets.category_ids)
    points = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    cost = matching_cost(expected, same_masks, targets.masks, points=points, weights=WEIGHTS)
    (found,) = match([cost])
    assert found.queries.tolist() == [2, 3]
    assert found.targets.tolist() == [0, 1]


def test_mask_losses_are_their_formulas():
    """At two points, one inside the target and one outside."""
    logits = torch.tensor([[0.7, -0.4]])
    cross_entropy, dice = mask_losses(logits, torch.tensor([[1.0, 0.0]]))
    inside, outside = logits.sigmoid()[0]
    torch.testing.assert_close(cross_entropy, -(inside.log() + (1 - outside).log()) / 2)
    torch.testing.assert_close(dice, 1 - (2 * inside + 1) / (inside + outside + 1 + 1))


def test_matched_masks_are_compared_with_their_targets_image_by_image():
    prediction, targets = undecided(2), (halves(), halves())
    chosen = torch.rand(3, 20, 2, generator=torch.Generator().manual_seed(0))
    found = matched_losses(
        prediction.mask_logits,
        targets,
        assignments=[pairs([1], [1]), pairs([0, 3], [0, 1])],
        points=lambda masks: chosen if [len(part) for part in masks] == [1, 2] else chosen[:0],
    )
    logits = prediction.mask_logits[[0, 1, 1], [1, 0, 3]]
    truths = targets[0].masks[[1, 0, 1]].float()
    expected = mask_losses(sample_points(logits, chosen), sample_points(truths, chosen))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_masks_in_bfloat16_are_read_in_float32():
    exact = undecided()
    rough = LayerPrediction(
        exact.mask_logits.detach().bfloat16(), exact.category_logits.detach(), exact.void_logits.detach()
    )
    same = LayerPrediction(rough.mask_logits.float(), rough.category_logits, rough.void_logits)
    partly = halves()
    partly.labeled[:, 20:] = False
    found, expected = loss_of(rough, partly), loss_of(same, partly)
    for name, value in found.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], atol=0, rtol=0)


def test_only_matched_queries_learn_masks():
    prediction = undecided()
    terms = loss_of(prediction, halves())
    (terms["mask"] + terms["dice"]).backward()
    gradient = prediction.mask_logits.grad
    assert gradient is not None
    assert (gradient[0].abs().sum(dim=(1, 2)) > 0).sum() == 2


def test_the_same_seed_gives_the_same_loss():
    first, second = loss_of(undecided(), halves()), loss_of(undecided(), halves())
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=0, rtol=0)
