import pytest
import torch
from torch import Tensor

from ovrcoat.model.query_selection import PRIOR, QuerySelector, highest_peaks, start_cells
from ovrcoat.model.transformer import sine_positions

CHANNELS = 32


def positions(level: Tensor) -> Tensor:
    """The position encoding of a level's cells."""
    return sine_positions(*level.shape[-2:], channels=CHANNELS, like=level).flatten(2).mT


def test_peaks_are_chosen_by_height_and_returned_by_position():
    logits = torch.full((1, 6, 8), -3.0)
    logits[0, 1, 1], logits[0, 4, 6], logits[0, 1, 6] = 1.0, 3.0, 2.0
    assert highest_peaks(logits, count=2).tolist() == [[1 * 8 + 6, 4 * 8 + 6]]
    assert highest_peaks(logits, count=3).tolist() == [[1 * 8 + 1, 1 * 8 + 6, 4 * 8 + 6]]


def test_cells_that_are_no_peaks_follow_by_height():
    logits = torch.full((1, 5, 5), -12.0) + torch.arange(25.0).view(1, 5, 5) / 1000
    logits[0, 4, 4], logits[0, 4, 3] = 5.0, 4.0  # one object
    logits[0, 0, 0] = -11.0
    assert highest_peaks(logits, count=2).tolist() == [[0, 24]]
    assert highest_peaks(logits, count=3).tolist() == [[0, 23, 24]]
    # the highest cells of the background, although they are no peaks, in order
    assert highest_peaks(logits, count=5).tolist() == [[0, 21, 22, 23, 24]]


def test_the_heatmap_is_not_rounded_in_half_precision():
    torch.manual_seed(0)
    selector, level = QuerySelector(CHANNELS, count=4), torch.randn(1, CHANNELS, 16, 16) / 20
    with torch.no_grad():
        exact = selector(level, positions(level)).center_logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = selector(level, positions(level)).center_logits
        half = selector.bfloat16()(level.bfloat16(), positions(level.bfloat16())).center_logits
    for logits in (mixed, half):
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, exact, atol=0.05, rtol=0)
        assert len(logits.unique()) > 250  # of 256


def test_a_map_with_fewer_cells_than_queries():
    cells = highest_peaks(torch.randn(2, 2, 3), count=10)
    assert cells.shape == (2, 10)
    assert all(set(row) == set(range(6)) for row in cells.tolist())


def test_features_and_positions_are_those_of_the_cells():
    torch.manual_seed(0)
    selector, level = QuerySelector(CHANNELS, count=4), torch.randn(2, CHANNELS, 5, 7)
    selection = selector(level, positions(level))
    assert selection.center_logits.shape == (2, 5, 7)
    for image, cells in enumerate(selection.cells.tolist()):
        for query, cell in enumerate(cells):
            expected = selector.feature_projection(level[image, :, cell // 7, cell % 7])
            torch.testing.assert_close(selection.features[image, query], expected)
    moved = selector(
        torch.zeros_like(level), positions(level)
    )  # the same features everywhere: only positions differ
    assert torch.equal(moved.features[0, 0], moved.features[0, 1])
    assert not torch.allclose(moved.positions[0, 0], moved.positions[0, 1])


def test_the_cell_of_a_start_on_other_maps():
    selector, level = QuerySelector(CHANNELS, count=4), torch.randn(2, CHANNELS, 5, 7)
    selection = selector(level, positions(level))
    assert torch.equal(start_cells(selection, height=5, width=7), selection.cells)
    finer = start_cells(selection, height=15, width=21)
    rows, columns = selection.cells // 7, selection.cells % 7
    assert torch.equal(finer, (3 * rows + 1) * 21 + 3 * columns + 1)
    coarse = start_cells(selection, height=2, width=3)
    expected = ((rows + 0.5) * 2 / 5).long() * 3 + ((columns + 0.5) * 3 / 7).long()
    assert torch.equal(coarse, expected)


def test_before_training_centers_are_rare():
    level = torch.zeros(1, CHANNELS, 4, 4)
    logits = QuerySelector(CHANNELS, count=1)(level, positions(level)).center_logits
    assert logits.sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.5)
