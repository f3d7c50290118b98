import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ovrcoat.data.panoptic_dataset import bbox_of, ids_in, image_entry
from ovrcoat.formats.annotations import Record

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(arrays.arrays(np.int32, SHAPES, elements=st.integers(0, 4)))
def test_ids_are_all_values_of_the_map(id_map: np.ndarray):
    assert ids_in(id_map) == set(np.unique(id_map).tolist())


@given(arrays.arrays(np.bool_, SHAPES).filter(np.any))
def test_a_box_is_the_smallest_that_holds_the_mask(mask: np.ndarray):
    left, top, width, height = bbox_of(mask)
    inside = mask[top : top + height, left : left + width]
    assert inside.sum() == mask.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


def test_images_are_named_without_folder():
    record = Record("a", image="images/deep/a.jpg", labels="labels/a.png")
    assert image_entry(record, height=2, width=4) == {
        "id": "a",
        "file_name": "a.jpg",
        "width": 4,
        "height": 2,
    }
