"""The expected bytes were recorded from `label_studio_sdk.converter.brush.mask2rle` (label-studio-sdk 2.1.2).

That function adds a whole byte of zeros where no padding is needed; decoders ignore it.
"""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from ovrcoat.formats.brush_rle import encode_brush

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def decode(rle: list[int]) -> np.ndarray:
    """The values of all channels, by the rules of rle-pack."""
    bits = "".join(f"{byte:08b}" for byte in rle)

    def read(count: int) -> int:
        nonlocal bits
        value, bits = int(bits[:count], 2), bits[count:]
        return value

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        is_run = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    return np.array(values)


def rectangle(height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[1:-1, 1:-10] = True
    return mask


@given(MASKS)
def test_each_pixel_is_there_four_times_as_0_or_255(mask: np.ndarray):
    decoded = decode(encode_brush(mask)).reshape(*mask.shape, 4)
    assert np.array_equal(decoded, np.repeat(255 * mask[..., None], 4, axis=-1))


def test_the_bytes_of_a_small_mask_are_those_of_the_library():
    mask = np.array([[False, True, True], [False, False, False]])
    assert encode_brush(mask) == [0, 0, 0, 24, 57, 27, 252, 96, 19, 255, 219, 0]


def test_runs_that_exceed_16_bits_are_split():
    mask = np.zeros((150, 200), dtype=bool)
    mask[140] = True
    library = [0, 1, 212, 192, 57, 27, 255, 255, 255, 0, 246, 175, 224, 28, 12, 127, 255, 142, 15, 128, 0]
    assert encode_brush(mask) == library[: len(encode_brush(mask))]
    assert len(library) - len(encode_brush(mask)) in (0, 1)
    assert np.array_equal(decode(encode_brush(mask))[::4].reshape(mask.shape) == 255, mask)


def test_the_bytes_of_a_larger_mask_are_those_of_the_library():
    mask = rectangle(70, 300)
    mask[3, 5] = False
    encoded = encode_brush(mask)
    digest = "f95d8c89158ab75f8c951b921c830a7a9796a99b274cc5d156972b02d7816097"
    assert hashlib.sha256(bytes(encoded)).hexdigest() == digest
    assert len(encoded) == 406


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 70_000)])
def test_a_mask_of_one_value_is_a_few_runs(shape: tuple[int, int]):
    assert (decode(encode_brush(np.ones(shape, dtype=bool))) == 255).all()
    assert len(encode_brush(np.zeros(shape, dtype=bool))) < 32
