import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ovrcoat.formats.panoptic_png import id_map_to_image, image_to_id_map

id_maps = arrays.arrays(
    np.int32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 2**24 - 1)
)


@given(id_maps)
def test_ids_come_back(id_map: np.ndarray):
    picture = id_map_to_image(id_map)
    np.testing.assert_array_equal(image_to_id_map(picture), id_map)
    np.testing.assert_array_equal(image_to_id_map(picture.convert("RGBA")), id_map)


def test_red_is_the_lowest_byte():
    assert id_map_to_image(np.array([[1 + 256 * 2 + 65_536 * 3]], dtype=np.int32)).getpixel((0, 0)) == (
        1,
        2,
        3,
    )
