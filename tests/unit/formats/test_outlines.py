import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from ovrcoat.formats.outlines import signed_area, trace_rings
from ovrcoat.formats.polygons import fill_polygon

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def fill(rings: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    filled = np.zeros(shape, dtype=bool)
    for ring in rings:
        filled ^= fill_polygon(ring.astype(float), height=shape[0], width=shape[1])
    return filled


@given(MASKS)
def test_filling_the_rings_returns_the_mask(mask: np.ndarray):
    rings = trace_rings(mask)
    assert np.array_equal(fill(rings, mask.shape), mask)
    assert sum(map(signed_area, rings)) == mask.sum()


@given(MASKS)
def test_there_is_one_outer_ring_per_part(mask: np.ndarray):
    outer = [ring for ring in trace_rings(mask) if signed_area(ring) > 0]
    assert len(outer) == ndimage.label(mask)[1]


@given(st.integers(1, 5), st.integers(1, 5))
def test_a_full_mask_is_its_frame(height: int, width: int):
    (ring,) = trace_rings(np.ones((height, width), dtype=bool))
    assert sorted(ring.tolist()) == [[0, 0], [0, height], [width, 0], [width, height]]


def test_a_hole_runs_the_other_way_and_large_rings_come_first():
    mask = np.ones((5, 5), dtype=bool)
    mask[1:4, 1:4] = False
    mask[2, 2] = True
    assert [signed_area(ring) for ring in trace_rings(mask)] == [25, -9, 1]


@pytest.mark.parametrize("mask", [np.eye(2, dtype=bool), np.eye(2, dtype=bool)[::-1]], ids=["\\", "/"])
def test_pixels_that_touch_at_a_corner_are_two_parts(mask: np.ndarray):
    assert [signed_area(ring) for ring in trace_rings(mask)] == [1, 1]


def test_an_empty_mask_has_no_rings():
    assert trace_rings(np.zeros((3, 4), dtype=bool)) == []
