import math

import pytest
import torch
from torch import Tensor

from ovrcoat.structures import MaskExtents, QuerySelection
from ovrcoat.training.centers import cell_shares, cells_inside
from ovrcoat.training.extents import extent_loss
from ovrcoat.training.losses import LossTerm, Targets

# 64 × 96 pixels, of which the map of selected queries has 8 × 12 cells
WIDE = (8, 24, 16, 48)  # rows 8 to 24, columns 16 to 48
SMALL = (40, 44, 80, 84)  # a quarter of a cell
CENTERS = {WIDE: (2.0, 4.0), SMALL: (5.5, 10.5)}
DEVIATIONS = {WIDE: (2 / math.sqrt(12), 4 / math.sqrt(12)), SMALL: (0.5, 0.5)}
CELL = {WIDE: 1 * 12 + 2, SMALL: 5 * 12 + 10}
OUTSIDE = 0


def selection(*cells: int) -> QuerySelection:
    features = torch.zeros(1, len(cells), 4)
    return QuerySelection(torch.zeros(1, 8, 12), torch.tensor([cells]), features, features)


def targets(*boxes: tuple[int, int, int, int]) -> Targets:
    masks = torch.zeros(len(boxes), 64, 96, dtype=torch.bool)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return Targets(masks, torch.zeros(len(boxes), dtype=torch.long), torch.ones(64, 96, dtype=torch.bool))


def extents(centers: list[tuple[float, float]], deviations: list[tuple[float, float]]) -> MaskExtents:
    return MaskExtents(torch.tensor([centers]), torch.tensor([deviations]).log(), cells=(8, 12))


def loss(predicted: MaskExtents, starts: QuerySelection, target: Targets) -> LossTerm:
    shares = cell_shares(starts, [target])
    return extent_loss([predicted], shares, cells_inside(starts, shares), weight=1.0)


def test_center_and_deviation_of_the_object_are_exact():
    """The pixels of WIDE are spread evenly: the deviation is the side divided by the root of 12."""
    boxes = (WIDE, SMALL)
    predicted = extents([CENTERS[box] for box in boxes], [DEVIATIONS[box] for box in boxes])
    term = loss(predicted, selection(*(CELL[box] for box in boxes)), targets(*boxes))
    assert term.numerators.item() == pytest.approx(0, abs=1e-5)
    assert term.denominators.tolist() == [2.0]


def test_distances_are_relative_to_the_size_and_the_mean_over_both_directions():
    (y, x), (height, width) = CENTERS[WIDE], DEVIATIONS[WIDE]
    predicted = extents([(y + height, x - 3 * width)], [(height * math.e, width / math.e**2)])
    assert loss(predicted, selection(CELL[WIDE]), targets(WIDE)).value().item() == pytest.approx(
        (1 + 3 + 1 + 2) / 4
    )


def test_queries_outside_of_all_objects_do_not_count():
    predicted = extents([CENTERS[WIDE], (50, 50)], [DEVIATIONS[WIDE], (1, 1)])
    term = loss(predicted, selection(CELL[WIDE], OUTSIDE), targets(WIDE))
    assert term.numerators.item() == pytest.approx(0, abs=1e-5)
    assert term.denominators.tolist() == [1.0]


@pytest.mark.parametrize("target", [targets(), targets(WIDE)])
def test_without_an_object_the_loss_is_zero_and_has_a_gradient(target: Targets):
    centers = torch.zeros(1, 1, 2, requires_grad=True)
    predicted = MaskExtents(centers, torch.zeros(1, 1, 2), cells=(8, 12))
    value: Tensor = loss(predicted, selection(OUTSIDE), target).value()
    value.backward()
    assert value.item() == 0
    assert centers.grad is not None
    assert not centers.grad.any()


def test_each_layer_has_a_loss_of_its_own():
    starts, shares = selection(CELL[WIDE]), cell_shares(selection(CELL[WIDE]), [targets(WIDE)])
    exact = extents([CENTERS[WIDE]], [DEVIATIONS[WIDE]])
    other = extents([CENTERS[WIDE]], [(10, 10)])
    inside = cells_inside(starts, shares)
    numerators = extent_loss([other, exact], shares, inside, weight=2.0).numerators
    assert numerators[0] > 0.5
    assert numerators[1].item() == pytest.approx(0, abs=1e-5)
