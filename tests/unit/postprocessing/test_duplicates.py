"""Several queries with nearly one mask."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.postprocessing.duplicates import mask_nms

LEFT = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
RIGHT = -LEFT
ALMOST_LEFT = torch.tensor([[1.0, 1.0, 1.0, -1.0]])  # IoU with LEFT: 2/3
NOTHING = -torch.ones(1, 4)


def keep(masks: list[torch.Tensor], scores: list[float], iou: float) -> list[bool]:
    better = mask_nms(torch.stack(masks), torch.tensor(scores), duplicate_iou=iou)
    return [index is None for index in better]


def test_the_best_of_several_copies_stays():
    assert keep([LEFT, LEFT, RIGHT, LEFT], [0.2, 0.9, 0.1, 0.3], 0.5) == [False, True, True, False]


def test_the_first_of_equal_scores_stays():
    assert keep([LEFT, LEFT], [0.5, 0.5], 0.5) == [True, False]


def test_the_limit_decides():
    assert keep([LEFT, ALMOST_LEFT], [0.9, 0.8], 0.66) == [True, False]
    assert keep([LEFT, ALMOST_LEFT], [0.9, 0.8], 0.67) == [True, True]


def test_a_mask_that_only_a_dropped_one_covers_stays():
    middle = torch.tensor([[-1.0, 1.0, 1.0, 1.0]])  # IoU 1/2 with ALMOST_LEFT, 1/4 with LEFT
    assert keep([LEFT, ALMOST_LEFT, middle], [0.9, 0.8, 0.7], 0.5) == [True, False, True]


def test_empty_masks_are_no_copies_of_each_other():
    assert keep([NOTHING, NOTHING], [0.9, 0.8], 0.5) == [True, True]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8), st.floats(0.1, 1), st.integers(0, 1000))
def test_what_stays_differs_and_what_goes_has_a_better_copy(scores, iou, seed):
    masks = torch.randn(len(scores), 3, 3, generator=torch.Generator().manual_seed(seed))
    duplicate_of = mask_nms(masks, torch.tensor(scores), duplicate_iou=iou)
    kept = [index is None for index in duplicate_of]
    inside = (masks > 0).flatten(1)

    def overlap(one: int, other: int) -> float:
        union = int((inside[one] | inside[other]).sum())
        return int((inside[one] & inside[other]).sum()) / max(1, union)

    for one in range(len(scores)):
        rivals = [
            other
            for other in range(len(scores))
            if other != one and kept[other] and overlap(one, other) >= iou - 1e-6
        ]
        if kept[one]:
            assert not [other for other in rivals if overlap(one, other) >= iou + 1e-6]
        else:
            assert duplicate_of[one] in rivals
            assert scores[duplicate_of[one]] == max(scores[other] for other in rivals) >= scores[one]
