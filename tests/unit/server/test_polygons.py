"""Masks as polygons."""

import numpy as np
import pytest

from ovrcoat.formats.polygons import fill_polygon, polygon_area
from ovrcoat.server.polygons import mask_polygons


def filled(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for polygon in polygons:
        mask ^= fill_polygon(polygon, height=shape[0], width=shape[1])
    return mask


@pytest.mark.parametrize("seed", range(20))
def test_filling_the_polygons_gives_the_mask_with_its_holes_and_parts(seed: int):
    generator = np.random.default_rng(seed)
    mask = generator.random((generator.integers(1, 12), generator.integers(1, 12))) < generator.random()
    np.testing.assert_array_equal(filled(mask_polygons(mask), mask.shape), mask)


def test_simplification_keeps_the_area_roughly_and_removes_corners():
    rows, columns = np.mgrid[0:200, 0:200]
    distance = np.hypot(rows - 100, columns - 100)
    mask = (distance < 80) & (distance > 30)
    (exact,), (simple,) = mask_polygons(mask), mask_polygons(mask, epsilon_factor=0.002)
    assert len(simple) < len(exact) / 3
    assert polygon_area(simple) == pytest.approx(mask.sum(), rel=0.05)


def test_an_empty_mask_has_no_polygon():
    assert mask_polygons(np.zeros((3, 4), dtype=bool)) == []
