import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dataset_samples import id_png, picture
from ovrcoat.data.label_images import decode_channels, decode_ids, decode_values, map_values
from ovrcoat.errors import DatasetError
from ovrcoat.formats import limits


@given(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=8))
def test_ids_survive_the_png(ids: list[int]):
    id_map = np.array([ids], dtype=np.int32)
    np.testing.assert_array_equal(decode_ids(id_png(id_map), location="a.png"), id_map)


def test_channels_stay_apart():
    rgb = np.array([[[7, 8, 9], [100, 1, 255]]], dtype=np.uint8)
    np.testing.assert_array_equal(decode_channels(picture(rgb), location="a.png"), rgb)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_values_of_8_and_16_bits(dtype: type, form: str):
    values = np.array([[0, 1, np.iinfo(dtype).max]], dtype=dtype)
    decoded = decode_values(picture(values, form=form), location="a")
    np.testing.assert_array_equal(decoded, values)


def test_palette_images_are_read_by_index():
    import io

    image = Image.fromarray(np.array([[3, 65]], dtype=np.uint8), mode="L").convert("P")
    image.putdata([3, 65])
    image.putpalette([255, 0, 0] * 256)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    np.testing.assert_array_equal(decode_values(buffer.getvalue(), location="a"), [[3, 65]])


def test_a_gray_id_map_is_rejected():
    with pytest.raises(DatasetError, match=r"a\.png: 8-bit grayscale; expected 8-bit RGB"):
        decode_ids(picture(np.zeros((2, 2), dtype=np.uint8)), location="a.png")


def test_color_labels_are_rejected():
    with pytest.raises(DatasetError, match=r"a\.png: the image has mode RGB, expected one channel"):
        decode_values(picture(np.zeros((2, 2, 3), dtype=np.uint8)), location="a.png")


@pytest.mark.parametrize("kept", [0, 20, 60])
def test_a_damaged_image_is_reported(kept: int):
    whole = id_png(np.arange(400, dtype=np.int32).reshape(20, 20))
    with pytest.raises(DatasetError, match=r"a\.png: .*; expected a complete PNG file: copy or download"):
        decode_ids(whole[:kept], location="a.png")


def test_an_image_with_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 5)
    with pytest.raises(DatasetError, match=r"a\.png: more than 5 pixels, .* \(3 × 2\)"):
        decode_ids(id_png(np.zeros((2, 3), dtype=np.int32)), location="a.png")
    with pytest.raises(DatasetError, match=r"a\.png: more than 5 pixels, .* \(3 × 2\)"):
        decode_values(picture(np.zeros((2, 3), dtype=np.uint8)), location="a.png")


@pytest.mark.parametrize("kept", [0, 20, 60])
def test_damaged_values_are_reported(kept: int):
    whole = picture(np.arange(400, dtype=np.uint16).reshape(20, 20))
    with pytest.raises(DatasetError, match=r"a\.png: the labels cannot be decoded .* copy or download"):
        decode_values(whole[:kept], location="a.png")


def test_an_alpha_channel_of_ids_is_ignored():
    rgba = picture(np.array([[[1, 1, 0, 255], [3, 0, 0, 0]]], dtype=np.uint8))
    np.testing.assert_array_equal(decode_ids(rgba, location="a.png"), [[257, 3]])


def test_values_become_positions():
    values = np.array([[7, 0], [9, 7]], dtype=np.int32)
    positions = map_values(values, {0: -1, 7: 0, 9: 1}, location="a", advice="")
    np.testing.assert_array_equal(positions, [[0, -1], [1, 0]])


def test_unknown_values_are_reported():
    values = np.arange(8, dtype=np.int32).reshape(2, 4)
    with pytest.raises(
        DatasetError, match=r"a\.png: pixels hold 1, 2, 3, 4, 5 …, which belongs to no category. Do that\."
    ):
        map_values(values, {0: 0}, location="a.png", advice="Do that.")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_of_few_bits_keeps_its_values(bits: int):
    """Pillow writes such files only with a palette, so the bytes are made by hand."""
    rows = bytes([0, 0b00011011]) if bits == 2 else bytes([0, 0b01010011])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    width = 8 // bits
    head = struct.pack(">IIBBBBB", width, 1, bits, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
    found = decode_values(content + chunk(b"IEND", b""), location="labels.png").tolist()
    assert found == {1: [[0, 1, 0, 1, 0, 0, 1, 1]], 2: [[0, 1, 2, 3]], 4: [[5, 3]]}[bits]
