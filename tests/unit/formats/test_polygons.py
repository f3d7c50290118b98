import numpy as np
import pytest

from ovrcoat.formats.polygons import fill_polygon, polygon_area


def test_a_pixel_belongs_to_a_polygon_if_its_center_is_inside():
    square = np.array([[1, 1], [3, 1], [3, 4], [1, 4]])
    expected = np.zeros((5, 6), dtype=bool)
    expected[1:4, 1:3] = True
    np.testing.assert_array_equal(fill_polygon(square.astype(float), height=5, width=6), expected)
    np.testing.assert_array_equal(fill_polygon(square + 0.4, height=5, width=6), expected)


def test_parts_outside_of_the_image_are_cut_off():
    square = np.array([[-9.0, -9], [2, -9], [2, 1], [-9, 1]])
    np.testing.assert_array_equal(np.argwhere(fill_polygon(square, height=4, width=4)), [[0, 0], [0, 1]])
    assert not fill_polygon(square - 20, height=4, width=4).any()


@pytest.mark.parametrize("points", [[[1.0, 1], [1, 1], [1, 1]], [[0.0, 2], [3, 2], [1, 2]]])
def test_a_polygon_without_area_is_empty(points: list[list[float]]):
    assert not fill_polygon(np.array(points), height=4, width=4).any()


def test_the_area_of_a_mask_is_about_that_of_its_polygon():
    angles = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    radius = np.where(np.arange(300) % 2, 40, 20)  # a star
    points = 50 + np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=-1)
    mask = fill_polygon(points, height=100, width=100)
    assert abs(mask.sum() - polygon_area(points)) < 60
