import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.metrics.mean_iou import MeanIou, tallies_from_cells

NAMES = ("cat", "dog", "sky")
SHAPE = (3, 4)


def maps(lowest: int, highest: int):
    return arrays.arrays(np.int32, SHAPE, elements=st.integers(lowest, highest))


def plain_loop(truth, predicted):
    """The definition, pixel by pixel; row 3: no category."""
    matrix = np.zeros((4, 3), dtype=int)
    for true, found in zip(truth.flat, predicted.flat, strict=True):
        if true >= 0:
            matrix[found if 0 <= found < 3 else 3, true] += 1
    return matrix


@settings(deadline=None)
@given(maps(-1, 2), maps(-1, 4))
def test_the_matrix_is_that_of_a_plain_loop(truth, predicted):
    metric = MeanIou(NAMES)
    cells = metric.add(truth, predicted)
    np.testing.assert_array_equal(metric.matrix, plain_loop(truth, predicted))
    again = MeanIou(NAMES)
    again.add_cells(cells)
    np.testing.assert_array_equal(again.matrix, metric.matrix)
    assert all(pixels > 0 for _, _, pixels in cells)


@settings(deadline=None)
@given(maps(-1, 2), maps(-1, 4))
def test_tallies_of_an_image_give_its_iou(truth, predicted):
    metric = MeanIou(NAMES)
    tallies = tallies_from_cells(metric.add(truth, predicted), category_ids=(10, 20, 30))
    for iou, id in zip(metric.report()["iou"], (10, 20, 30), strict=True):
        both, true, found = tallies.get(id, (0, 0, 0))
        assert iou == (pytest.approx(100 * both / (true + found - both)) if true else None)


@settings(deadline=None)
@given(maps(-1, 2))
def test_truth_against_itself_is_100(truth):
    metric = MeanIou(NAMES)
    metric.add(truth, truth)
    report = metric.report()
    expected = 100.0 if (truth >= 0).any() else None
    assert (report["mIoU"], report["mACC"], report["pACC"]) == (expected,) * 3
    assert set(report["iou"]) <= {100.0, None}


def test_pixels_without_prediction_count_as_missed():
    metric = MeanIou(NAMES)
    metric.add(np.array([[0, 0, 0, 1]]), np.array([[0, -1, 3, 1]]))
    report = metric.report()
    assert report["iou"] == [pytest.approx(100 / 3), 100.0, None]
    assert report["pACC"] == 50.0


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
def test_any_whole_numbers_are_taken(kind: type):
    metric = MeanIou(NAMES)
    metric.add(np.array([[0, 2]], dtype=kind), np.array([[0, 1]], dtype=kind))
    assert metric.matrix.sum() == 2


def test_invalid_maps_are_rejected():
    metric = MeanIou(NAMES)
    with pytest.raises(DatasetError, match=r"2 × 2 pixels \(height × width\), the predicted map 2 × 3"):
        metric.add(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(
        DatasetError, match="ground-truth map contains 3, expected an index from 0 to 2 for the 3"
    ):
        metric.add(np.array([[3]]), np.array([[0]]))
    assert not metric.matrix.any()
