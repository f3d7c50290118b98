import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ovrcoat.errors import MissingExtraError
from ovrcoat.formats import panoptic_png
from ovrcoat.formats.panoptic_png import (
    PanopticPngError,
    decode_id_map,
    id_map_to_image,
    image_to_id_map,
    read_id_map,
)

IDS = np.array([[5, 5, 5, 0], [5, 5, 70_000, 70_000]], dtype=np.int32)
id_maps = arrays.arrays(
    np.int32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 2**24 - 1)
)


@pytest.fixture(params=["kornia", "pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both decoders in turn."""
    if request.param == "kornia":
        pytest.importorskip("kornia_rs")
    else:
        monkeypatch.setattr(panoptic_png, "import_optional", _missing)
    panoptic_png._decoder.cache_clear()
    yield request.param
    panoptic_png._decoder.cache_clear()


def _missing(module: str, *, extra: str) -> None:
    raise MissingExtraError(f"{module} of {extra}")


def encoded(image: Image.Image, *, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=form)
    return stream.getvalue()


@given(id_maps)
def test_ids_survive_encoding_and_decoding(id_map: np.ndarray):
    image = id_map_to_image(id_map)
    np.testing.assert_array_equal(image_to_id_map(image), id_map)
    np.testing.assert_array_equal(image_to_id_map(image.convert("RGBA")), id_map)
    np.testing.assert_array_equal(decode_id_map(encoded(image)).id_map, id_map)


@given(st.integers(0, 2**24 - 1))
def test_the_png_stores_ids_in_cocos_format(id: int):
    red, green, blue = id_map_to_image(np.array([[id]], dtype=np.int32)).getpixel((0, 0))
    assert red + 256 * green + 65536 * blue == id


def test_red_is_the_lowest_byte():
    image = id_map_to_image(np.array([[1 + 256 * 2 + 65_536 * 3]], dtype=np.int32))
    assert image.getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3)])
def test_both_decoders_read_all_ids(shape: tuple[int, int], tmp_path: Path, decoder: str):
    ids = np.random.default_rng(0).integers(0, 1 << 24, shape, dtype=np.int32)
    id_map_to_image(ids).save(tmp_path / "ids.png")
    decoded, has_alpha = read_id_map(tmp_path / "ids.png")
    np.testing.assert_array_equal(decoded, ids)
    assert decoded.dtype == np.int32
    assert not has_alpha


def test_alpha_is_ignored_not_blended(tmp_path: Path, decoder: str):
    image = id_map_to_image(IDS)
    image.putalpha(Image.fromarray(np.arange(8, dtype=np.uint8).reshape(2, 4)))
    image.save(tmp_path / "ids.png")
    decoded, has_alpha = read_id_map(tmp_path / "ids.png")
    np.testing.assert_array_equal(decoded, IDS)
    assert has_alpha


WHOLE = encoded(id_map_to_image(IDS))


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", "png-damaged", "the file has only 0 bytes; expected a complete PNG file"),
        (WHOLE[:50], "png-damaged", "; expected a complete PNG file"),
        (WHOLE[:45] + b"\xff" * 40, "png-damaged", "; expected a complete PNG file"),
        (encoded(Image.new("RGB", (64, 64)), form="BMP"), "png-damaged", "the file is not a PNG"),
        (encoded(Image.new("L", (4, 3))), "png-not-rgb", "8-bit grayscale; expected 8-bit RGB"),
        (encoded(Image.new("P", (4, 3))), "png-not-rgb", "1-bit palette; expected 8-bit RGB"),
        (encoded(Image.new("LA", (4, 3))), "png-not-rgb", "8-bit grayscale with alpha; expected 8-bit RGB"),
        (WHOLE[:24] + b"\x10" + WHOLE[25:], "png-not-rgb", "16-bit RGB; expected 8-bit RGB"),
        (
            WHOLE[:16] + b"\x00\x01\x00\x00\x00\x01\x00\x00" + WHOLE[24:],
            "png-too-large",
            r"more than 178,956,970 pixels, .* \(65,536 × 65,536\)",
        ),
    ],
)
def test_unusable_files_have_a_code_and_advice(
    content: bytes, code: str, message: str, tmp_path: Path, decoder: str
):
    (tmp_path / "ids.png").write_bytes(content)
    for decode in (lambda: decode_id_map(content), lambda: read_id_map(tmp_path / "ids.png")):
        with pytest.raises(PanopticPngError, match=message) as caught:
            decode()
        assert caught.value.code == code
        assert str(caught.value).startswith(f"{caught.value.detail}; ")


def test_a_missing_file_has_its_own_code(tmp_path: Path):
    with pytest.raises(PanopticPngError, match="not found; copy the file to its folder") as caught:
        read_id_map(tmp_path / "ids.png")
    assert caught.value.code == "png-missing"
    with pytest.raises(PanopticPngError, match="this is a folder") as caught:
        read_id_map(tmp_path)
    assert caught.value.code == "png-damaged"
