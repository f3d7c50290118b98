import pytest
import torch

from ovrcoat.structures import QuerySelection
from ovrcoat.training.centers import cell_shares, cells_inside, center_loss, heatmap
from ovrcoat.training.losses import Targets

SIZE = 8  # cells per side, of 8 pixels each


def selection(logits: torch.Tensor, cells: list[int]) -> QuerySelection:
    unused = torch.zeros(1, len(cells), 4)
    return QuerySelection(
        logits[None], torch.tensor([cells], dtype=torch.long), features=unused, positions=unused
    )


def boxes(*corners: tuple[int, int, int, int], labeled: bool = True) -> Targets:
    """Targets from (top, left, bottom, right) in pixels."""
    masks = torch.zeros(len(corners), 8 * SIZE, 8 * SIZE, dtype=torch.bool)
    for mask, (top, left, bottom, right) in zip(masks, corners, strict=True):
        mask[top:bottom, left:right] = True
    known = masks.any(dim=0) | labeled
    return Targets(masks, torch.zeros(len(corners), dtype=torch.long), known)


def loss_of(logits: torch.Tensor, targets: Targets) -> float:
    chosen = selection(logits, [])
    return center_loss(chosen, cell_shares(chosen, [targets]), weight=1.0).value().item()


def with_peak(row: int, column: int) -> torch.Tensor:
    logits = torch.full((SIZE, SIZE), -8.0)
    logits[row, column] = 8.0
    return logits


def test_the_center_of_a_box_is_best():
    targets = boxes((8, 16, 32, 40))  # rows 1 to 3, columns 2 to 4
    losses = torch.tensor([[loss_of(with_peak(y, x), targets) for x in range(SIZE)] for y in range(SIZE)])
    assert losses.argmin().item() == 2 * SIZE + 3
    assert losses.min() < 0.01
    assert losses[2, 2] < losses[2, 1] < losses[7, 7]  # near the center is less wrong


def test_the_center_of_a_ring_is_on_the_ring():
    targets = boxes((0, 0, 64, 64))
    targets.masks[0, 16:48, 16:48] = False
    losses = torch.tensor([[loss_of(with_peak(y, x), targets) for x in range(SIZE)] for y in range(SIZE)])
    y, x = divmod(losses.argmin().item(), SIZE)
    assert targets.masks[0, 8 * y + 4, 8 * x + 4]


def test_an_object_smaller_than_a_cell_has_a_center():
    targets = boxes((10, 18, 13, 21))
    assert loss_of(with_peak(1, 2), targets) < 0.01 < loss_of(with_peak(1, 3), targets)


def test_the_loss_is_the_mean_over_the_targets_of_all_images():
    one, two = boxes((8, 8, 24, 24)), boxes((8, 8, 24, 24), (40, 40, 56, 56))
    torch.manual_seed(0)
    first, second = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    unused = torch.zeros(2, 0, 4)
    both = QuerySelection(torch.stack((first, second)), torch.zeros(2, 0, dtype=torch.long), unused, unused)
    together = center_loss(both, cell_shares(both, [one, two]), weight=2.0)
    assert together.value().item() == pytest.approx(
        2 * (loss_of(first, one) + 2 * loss_of(second, two)) / 3, rel=1e-5
    )


def test_a_peak_on_unlabeled_cells_costs_a_tenth():
    corners = (8, 8, 24, 24)
    quiet = torch.full((SIZE, SIZE), -30.0)
    quiet[1, 1] = quiet[1, 2] = quiet[2, 1] = quiet[2, 2] = 30.0
    noisy = quiet.clone()
    noisy[6, 6] = 30.0
    known = loss_of(noisy, boxes(corners)) - loss_of(quiet, boxes(corners))
    unknown = loss_of(noisy, boxes(corners, labeled=False)) - loss_of(quiet, boxes(corners, labeled=False))
    assert unknown == pytest.approx(known / 10, rel=1e-3)


def test_an_image_without_targets():
    empty = boxes()
    assert loss_of(torch.full((SIZE, SIZE), -30.0), empty) == pytest.approx(0, abs=1e-6)
    assert loss_of(with_peak(1, 1), empty) > 1
    chosen = selection(torch.zeros(SIZE, SIZE), [0, 9])
    (inside,) = cells_inside(chosen, cell_shares(chosen, [empty]))
    assert inside.shape == (2, 0)


def test_shares_of_cells_that_are_not_square():
    targets = boxes((0, 0, 4, 16), (60, 62, 64, 64))
    chosen = QuerySelection(
        torch.zeros(1, 4, 8), torch.zeros(1, 0, dtype=torch.long), *[torch.zeros(1, 0, 4)] * 2
    )
    (shares,) = cell_shares(chosen, [targets])  # cells of 16 × 8 pixels
    assert shares.masks[0].nonzero().tolist() == [[0, 0], [0, 1]]
    assert shares.masks[0, 0, :2].tolist() == [0.25, 0.25]
    assert shares.masks[1].nonzero().tolist() == [[3, 7]]
    assert shares.masks[1, 3, 7].item() == pytest.approx(8 / 128)
    assert shares.labeled.eq(1).all()


def test_larger_objects_have_wider_peaks():
    chosen = selection(torch.zeros(SIZE, SIZE), [])
    wide, narrow = (heatmap(cell_shares(chosen, [boxes((0, 0, size, size))])[0].masks) for size in (64, 8))
    assert wide.max() == narrow.max() == 1
    assert (wide > 0.5).sum() > (narrow > 0.5).sum() == 1


def test_cells_inside_targets():
    targets = boxes((8, 8, 24, 24), (0, 0, 64, 12), (34, 34, 36, 36))
    chosen = selection(torch.zeros(SIZE, SIZE), [0, 9, 18, 36])  # (0, 0), (1, 1), (2, 2), (4, 4)
    (inside,) = cells_inside(chosen, cell_shares(chosen, [targets]))
    assert inside.tolist() == [
        [False, True, False],
        [True, True, False],  # half of the cell belongs to the strip
        [True, False, False],
        [False, False, True],  # a small object, which covers no cell by half
    ]
