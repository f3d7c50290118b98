from typing import Any

import numpy as np
import pytest

from ovrcoat.formats.run_lengths import decode_runs


def test_run_lengths_go_down_the_columns():
    mask = decode_runs({"size": [2, 3], "counts": [1, 2, 3]})
    np.testing.assert_array_equal(mask, [[False, True, False], [True, False, False]])


def test_compressed_runs_are_those_of_pycocotools():
    codec = pytest.importorskip("pycocotools.mask")
    expected = np.random.default_rng(0).random((30, 20)) > 0.7
    runs = codec.encode(np.asfortranarray(expected.astype(np.uint8)))
    np.testing.assert_array_equal(decode_runs(runs), expected)
    np.testing.assert_array_equal(decode_runs(runs | {"counts": runs["counts"].decode()}), expected)


@pytest.mark.parametrize(
    "segmentation",
    [
        {},
        {"size": [2, 3]},
        {"size": [2, 3], "counts": [7]},
        {"size": [2, 3], "counts": [-1, 7]},
        {"size": [2], "counts": [2]},
        {"size": ["2", 3], "counts": [6]},
        {"size": [0, 3], "counts": [0]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": [2, 3], "counts": "~~"},
    ],
)
def test_invalid_runs_are_no_mask(segmentation: dict[str, Any]):
    assert decode_runs(segmentation) is None
