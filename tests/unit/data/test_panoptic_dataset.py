import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ovrcoat.data.panoptic_dataset import ids_in

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))


@given(arrays.arrays(np.int32, SHAPES, elements=st.integers(0, 4)))
def test_ids_are_all_values_of_the_map(id_map: np.ndarray):
    assert ids_in(id_map) == set(np.unique(id_map).tolist())
