import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ovrcoat.data import transforms
from ovrcoat.data.images import LoadedImage
from ovrcoat.data.transforms import batch_images, padded_size, prepare, resize

SIDES = st.integers(1, 5000)


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((500, 2000), (333, 1333)),
        ((1, 1), (800, 800)),
        ((3, 20_000), (1, 1333)),
        ((1000, 2000), (667, 1333)),  # 666.5 exactly: half up
        ((800, 1333), (800, 1333)),
    ],
)
def test_the_published_test_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert transforms.test_size(size, short_side=800, max_long_side=1333) == expected


@given(SIDES, SIDES, st.integers(1, 1024), st.integers(0, 2000))
def test_sizes_keep_their_bounds(height: int, width: int, short_side: int, more: int) -> None:
    most = short_side + more
    new = transforms.test_size((height, width), short_side=short_side, max_long_side=most)
    assert min(new) >= 1
    assert max(new) <= most
    assert min(new) == short_side or max(new) == most
    assert transforms.test_size((width, height), short_side=short_side, max_long_side=most) == new[::-1]


@given(SIDES, SIDES)
def test_padding_is_the_next_multiple_of_32(height: int, width: int) -> None:
    for padded, side in zip(padded_size((height, width), stride=32), (height, width), strict=True):
        assert padded % 32 == 0
        assert 0 <= padded - side < 32


@pytest.mark.parametrize("size", [(7, 5), (64, 96), (1, 1), (20, 31)])
def test_resize_is_pillows(size: tuple[int, int]) -> None:
    pixels = image(20, 31)
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize(pixels, size), expected)


def test_a_batch_is_padded_right_and_bottom_with_zeros() -> None:
    first, second = image(33, 40), image(64, 50)
    batch = batch_images([first, second], stride=32)
    assert batch.pixels.shape == (2, 3, 64, 64)
    assert batch.valid_sizes == ((33, 40), (64, 50))
    assert batch.padded_size == (64, 64)
    np.testing.assert_array_equal(batch.pixels[0, :, :33, :40].permute(1, 2, 0).numpy(), first)
    np.testing.assert_array_equal(batch.pixels[1, :, :, :50].permute(1, 2, 0).numpy(), second)
    assert batch.pixels[0, :, 33:].abs().sum() == 0
    assert batch.pixels[0, :, :, 40:].abs().sum() == 0


def test_images_of_unequal_padded_sizes_do_not_share_a_batch() -> None:
    with pytest.raises(
        ValueError, match=r"expected images of one padded size, got 2: \[\(32, 32\), \(32, 64\)\]"
    ):
        batch_images([image(32, 32), image(32, 33)], stride=32)
    with pytest.raises(ValueError, match="expected images of one padded size, got 0"):
        batch_images([], stride=32)


def test_a_prepared_image_has_its_test_size() -> None:
    original = LoadedImage(image(20, 30), "a.png")
    made = prepare(original, short_side=40, max_long_side=50, stride=32)
    assert made.image is original
    np.testing.assert_array_equal(made.resized, resize(original.pixels, (33, 50)))
    assert made.padded_size == (64, 64)
    assert made.nbytes == 20 * 30 * 3 + 33 * 50 * 3
    assert prepare(original, short_side=20, max_long_side=30, stride=32).nbytes == 20 * 30 * 3  # held once
