"""Areas of masks as COCO writes them, against masks drawn and encoded by pycocotools."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ovrcoat.evaluation.checks.rle import InvalidMask, MaskArea, measure_mask

masks = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 1)
)


@settings(max_examples=60, deadline=None)
@given(mask=masks)
def test_packed_run_lengths_give_the_pixels_of_the_mask(mask: np.ndarray) -> None:
    codec = pytest.importorskip("pycocotools.mask")
    runs = codec.encode(np.asfortranarray(mask))
    text = {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")}
    assert measure_mask(text, size=mask.shape) == MaskArea(float(mask.sum()))
    assert measure_mask(text | {"counts": runs["counts"]}, size=None) == MaskArea(float(mask.sum()))


@given(mask=masks)
def test_listed_run_lengths_give_the_pixels_of_the_mask(mask: np.ndarray) -> None:
    column = mask.T.ravel()
    borders = np.flatnonzero(np.diff(np.concatenate([[0], column]))).tolist()
    counts = np.diff([0, *borders, column.size]).tolist()
    assert measure_mask({"size": list(mask.shape), "counts": counts}, size=mask.shape).pixels == mask.sum()


def test_long_runs_are_read() -> None:
    codec = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((2000, 3000), np.uint8, order="F")
    mask[500:, 1000:2000] = 1
    runs = codec.encode(mask)
    assert measure_mask(dict(runs), size=(2000, 3000)) == MaskArea(1_500_000.0)


def test_polygons_give_their_area_and_how_far_it_may_be_off() -> None:
    square, triangle = [0, 0, 10, 0, 10, 10, 0, 10], [20.0, 0.0, 24.0, 0.0, 20.0, 3.0]
    assert measure_mask([square, triangle], size=(30, 30)) == MaskArea(106.0, tolerance=53.0)


@pytest.mark.parametrize(
    ("segmentation", "reason", "detail"),
    [
        (None, "missing", "no segmentation"),
        ([], "missing", "no segmentation"),
        (7, "damaged", "type int"),
        ({"counts": [4]}, "damaged", "without their size"),
        ({"size": [2, True], "counts": [4]}, "damaged", "without their size"),
        ({"size": [2, 3], "counts": [6]}, "size-differs", "mask 3 × 2, image 2 × 3.*swapped"),
        ({"size": [9, 9], "counts": [81]}, "size-differs", "mask 9 × 9"),
        ({"size": [3, 2], "counts": [2, 2]}, "damaged", "4 pixels in total, expected 6"),
        ({"size": [3, 2], "counts": [8, -2]}, "damaged", "expected 6"),
        ({"size": [3, 2], "counts": [6.0]}, "damaged", "not run lengths"),
        ({"size": [3, 2], "counts": "é"}, "damaged", "not run lengths"),
        ({"size": [3, 2], "counts": ""}, "damaged", "not run lengths"),
        ({"size": [3, 2], "counts": "o"}, "damaged", "not run lengths"),  # says that more follows
        ({"size": [3, 2], "counts": "oooooooooo0"}, "damaged", "not run lengths"),
        ({"size": [3, 2], "counts": " "}, "damaged", "not run lengths"),
        ([[1, 2, 3]], "damaged", "pairs"),
        ([[1, 2, 3, "4", 5, 6]], "damaged", "list of numbers"),
        ([[1, 2, 3, float("nan"), 5, 6]], "damaged", "list of numbers"),
        ([[1, 2, 3, 10**400, 5, 6]], "damaged", "list of numbers"),
        (["abc"], "damaged", "list of numbers"),
        ([[1, 2, 3, 4]], "too-few-points", "2 points"),
        # pycocotools crashes or takes gigabytes
        ([[0, 0, 1e9, 0, 1e9, 2]], "damaged", "x = 1e.09 in an image of 2 × 3"),
        ([[0, 0, 1e14, 0, 1, 1]], "damaged", "x = 1e.14"),
        ([[0, 0, 1, -1e14, 1, 1]], "damaged", "y = -1e.14"),
        ([[0, 0, 1e8, 0, 1, 1]], "damaged", "x = 1e.08"),
        ([[0, 0, 2, 3] * 2_000_000], "damaged", r"an outline of 1\.2e\+07 pixels"),
        ({"size": [2**32, 2**32], "counts": [0]}, "size-differs", "mask"),
    ],
)
def test_a_mask_that_cannot_be_used_says_why(segmentation: Any, reason: str, detail: str) -> None:
    invalid = measure_mask(segmentation, size=(3, 2))
    assert isinstance(invalid, InvalidMask)
    assert invalid.reason == reason
    assert re.search(detail, invalid.detail)


@pytest.mark.parametrize("side", [2**16, 2**40, -(2**16)])
def test_masks_of_unknown_images_are_bounded(side: int) -> None:
    invalid = measure_mask({"size": [side, side], "counts": [side * side]}, size=None)
    assert isinstance(invalid, InvalidMask)
    assert invalid.reason == "damaged"
    assert isinstance(measure_mask([[0, 0, 1e9, 0, 1e9, 2]], size=None), InvalidMask)


def test_a_polygon_may_exceed_its_image() -> None:
    assert measure_mask([[-5, 0, 15, 0, 15, 10, -5, 10]], size=(10, 10)) == MaskArea(200.0, tolerance=61.0)
