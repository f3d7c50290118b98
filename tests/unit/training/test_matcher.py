import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.training.matcher import (
    FORBIDDEN_COST,
    Assignment,
    LossWeights,
    MatchingCost,
    forbid,
    match,
    matching_cost,
    pairwise_cross_entropy,
    pairwise_dice,
)
from ovrcoat.training.points import sample_points

WEIGHTS = LossWeights()


def test_weights_are_the_released_ones():
    assert (WEIGHTS.category, WEIGHTS.mask, WEIGHTS.dice, WEIGHTS.void) == (2.0, 6.0, 5.0, 0.1)


def test_pairwise_costs_equal_loops():
    torch.manual_seed(0)
    logits, truths = torch.randn(4, 7), torch.rand(3, 7)
    cross_entropy, dice = pairwise_cross_entropy(logits, truths), pairwise_dice(logits, truths)
    for query, target in itertools.product(range(4), range(3)):
        total, overlap, sizes = 0.0, 0.0, 0.0
        for point in range(7):
            inside, truth = torch.sigmoid(logits[query, point]).item(), truths[target, point].item()
            total -= truth * math.log(inside) + (1 - truth) * math.log(1 - inside)
            overlap += inside * truth
            sizes += inside + truth
        assert cross_entropy[query, target].item() == pytest.approx(total / 7, abs=1e-5)
        assert dice[query, target].item() == pytest.approx(1 - (2 * overlap + 1) / (sizes + 1), abs=1e-5)


def test_extreme_logits_cost_a_finite_price():
    logits, truths = torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 1.0]])
    assert torch.isfinite(pairwise_cross_entropy(logits, truths)).all()
    assert torch.isfinite(pairwise_dice(logits, truths)).all()


def matched(
    probabilities: Tensor, mask_logits: Tensor, target_masks: Tensor, *, points: Tensor
) -> Assignment:
    return match([matching_cost(probabilities, mask_logits, target_masks, points=points, weights=WEIGHTS)])[0]


def total_cost(probabilities: Tensor, logits: Tensor, truths: Tensor, queries: tuple[int, ...]) -> float:
    """The cost of matching query `queries[i]` to target i, sampled at the same points."""
    total = 0.0
    for target, query in enumerate(queries):
        inside = logits[query].sigmoid()
        overlap = 2 * (inside * truths[target]).sum() + 1
        total += (
            WEIGHTS.mask * F.binary_cross_entropy_with_logits(logits[query], truths[target]).item()
            + WEIGHTS.dice * (1 - overlap / (inside.sum() + truths[target].sum() + 1)).item()
            - WEIGHTS.category * probabilities[query, target].item()
        )
    return total


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_no_permutation_is_cheaper(seed: int):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(5, 3, generator=generator)
    mask_logits = torch.randn(5, 4, 4, generator=generator) * 2
    target_masks = torch.rand(3, 8, 8, generator=generator) > 0.5
    points = torch.rand(20, 2, generator=generator)
    pairs = matched(probabilities, mask_logits, target_masks, points=points)
    assert pairs.queries.tolist() == sorted(set(pairs.queries.tolist()))
    assert sorted(pairs.targets.tolist()) == [0, 1, 2]

    logits = sample_points(mask_logits, points.expand(5, -1, -1))
    truths = sample_points(target_masks.float(), points.expand(3, -1, -1))
    costs = {
        queries: total_cost(probabilities, logits, truths, queries)
        for queries in itertools.permutations(range(5), 3)
    }
    of_target = dict(zip(pairs.targets.tolist(), pairs.queries.tolist(), strict=True))
    chosen = (of_target[0], of_target[1], of_target[2])
    assert costs[chosen] == pytest.approx(min(costs.values()), abs=1e-4)


def squares(count: int) -> Tensor:
    """Masks of 8 × 8 pixels: row `index` of each."""
    masks = torch.zeros(count, 8, 8, dtype=torch.bool)
    for index in range(count):
        masks[index, index] = True
    return masks


def test_right_masks_find_their_targets():
    masks = squares(3)
    logits = torch.cat((torch.zeros(1, 8, 8), 20.0 * masks.flip(0) - 10))
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    pairs = matched(torch.zeros(4, 3), logits, masks, points=points)
    assert pairs.queries.tolist() == [1, 2, 3]
    assert pairs.targets.tolist() == [2, 1, 0]


def test_more_targets_than_queries_leaves_targets_without_an_answer():
    masks = squares(3)
    points = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    pairs = matched(torch.zeros(1, 3), 20.0 * masks[1:2] - 10, masks, points=points)
    assert (pairs.queries.tolist(), pairs.targets.tolist()) == ([0], [1])


def test_no_target_gives_no_pair():
    pairs = matched(
        torch.zeros(4, 0),
        torch.zeros(4, 8, 8),
        torch.zeros(0, 8, 8, dtype=torch.bool),
        points=torch.rand(5, 2),
    )
    assert pairs.queries.tolist() == pairs.targets.tolist() == []
    assert pairs.queries.dtype == torch.long


def test_a_prediction_that_is_no_number_is_matched_last():
    masks = squares(2)
    logits = torch.cat((torch.full((1, 8, 8), torch.nan), torch.zeros(2, 8, 8)))
    pairs = matched(torch.zeros(3, 2), logits, masks, points=torch.rand(5, 2))
    assert pairs.queries.tolist() == [1, 2]
    broken = logits.fill_(torch.nan)
    assert len(matched(torch.zeros(3, 2), broken, masks, points=torch.rand(5, 2)).queries) == 2


class TestSeveralQueriesPerTarget:
    COST = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.3, 0.1], [0.9, 0.7], [0.8, 0.2]])

    def pairs(self, cost: Tensor, count: int) -> list[tuple[int, int]]:
        (found,) = match([MatchingCost(mask=cost, dice=cost, total=cost)], queries_per_target=count)
        return list(zip(found.queries.tolist(), found.targets.tolist(), strict=True))

    def test_each_target_has_its_cheapest_queries(self):
        assert self.pairs(self.COST, 1) == [(0, 0), (2, 1)]
        assert self.pairs(self.COST, 2) == [(0, 0), (1, 0), (2, 1), (4, 1)]

    def test_all_targets_have_the_same_number_if_there_are_too_few_queries(self):
        assert self.pairs(self.COST, 3) == self.pairs(self.COST, 2)
        assert self.pairs(self.COST[:3], 3) == self.pairs(self.COST[:3], 1)
        assert len(self.pairs(self.COST[:1], 3)) == 1

    def test_no_targets(self):
        assert self.pairs(self.COST[:, :0], 3) == []


class TestSelectedQueries:
    COST = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.3, 0.1], [0.9, 0.7], [0.8, 0.2]])

    def pairs(self, inside: list[list[bool]], count: int = 1) -> list[tuple[int, int]]:
        cost = MatchingCost(mask=self.COST, dice=self.COST, total=self.COST)
        allowed = torch.tensor(inside)
        (found,) = match([forbid(cost, ~allowed)], queries_per_target=count, selected=len(allowed))
        return list(zip(found.queries.tolist(), found.targets.tolist(), strict=True))

    def test_they_are_matched_separately(self):
        assert self.pairs([[True, True], [True, True]]) == [(0, 0), (2, 1), (3, 0), (4, 1)]

    def test_only_with_targets_that_contain_their_cell(self):
        assert self.pairs([[False, True], [True, False]]) == [(0, 0), (2, 1), (3, 1), (4, 0)]
        assert self.pairs([[False, True], [False, True]]) == [(0, 0), (2, 1), (4, 1)]
        assert self.pairs([[False, False], [False, False]]) == [(0, 0), (2, 1)]

    def test_several_for_each_target(self):
        inside = [[True, False], [True, False], [True, True]]
        assert self.pairs(inside, count=2) == [(0, 0), (1, 1), (2, 0), (4, 1)]

    def test_costs_of_other_queries_stay(self):
        cost = MatchingCost(mask=self.COST, dice=self.COST, total=self.COST)
        changed = forbid(cost, torch.tensor([[True, False]]))
        assert torch.equal(changed.total[:4], self.COST[:4])
        assert changed.total[4].tolist() == pytest.approx([FORBIDDEN_COST, 0.2])
