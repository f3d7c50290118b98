import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ovrcoat.results.mask import PackedMask

masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.booleans())


@given(masks)
def test_packing_loses_nothing(mask: np.ndarray):
    packed = PackedMask.pack(mask)
    assert np.array_equal(packed.unpack(), mask)
    assert packed.area == mask.sum()


def test_only_the_box_is_kept_as_bits():
    mask = np.zeros((3000, 4000), dtype=bool)
    mask[1000:1100, 2000:2200] = True
    packed = PackedMask.pack(mask)
    assert packed.bbox == (2000, 1000, 200, 100)
    assert packed.bits.nbytes == 200 * 100 / 8


@given(
    arrays.arrays(bool, (2, 4, 5), elements=st.booleans()),
    st.floats(0, 1, exclude_min=True),
)
def test_duplicates_have_a_large_iou(pair: np.ndarray, iou: float):
    first, second = map(PackedMask.pack, pair)
    union = (pair[0] | pair[1]).sum()
    expected = union > 0 and (pair[0] & pair[1]).sum() >= iou * union
    assert first.is_duplicate_of(second, iou=iou) == second.is_duplicate_of(first, iou=iou) == expected
    assert first.is_duplicate_of(first, iou=iou) == (first.area > 0)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5)])
def test_an_empty_mask(shape: tuple[int, int]):
    packed = PackedMask.pack(np.zeros(shape, dtype=bool))
    assert (packed.bbox, packed.area) == ((0, 0, 0, 0), 0)
    assert packed.unpack().shape == shape
