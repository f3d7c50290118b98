"""Every way an image can come, and every way it can be broken."""

import io
import os
import socket
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from ovrcoat.data.images import LoadedImage, read_image
from ovrcoat.errors import ImageError
from ovrcoat.formats import limits

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# 2 rows, 3 columns
PIXELS = np.array([[RED, GREEN, BLUE], [WHITE, (10, 20, 30), (0, 0, 0)]], dtype=np.uint8)


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


PNG = encoded(Image.fromarray(PIXELS))


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header promises far more than its few bytes hold."""
    body = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    header = (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + header + encoded(Image.new("RGB", (1, 1)))[33:]


class TestSources:
    def test_a_path_as_string_and_as_path_keeps_the_file_name(self, tmp_path: Path) -> None:
        path = tmp_path / "street.png"
        path.write_bytes(PNG)
        for source in (path, str(path)):
            image = read_image(source)
            assert image.name == "street.png"
            np.testing.assert_array_equal(image.pixels, PIXELS)

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_bytes(self, kind: type) -> None:
        image = read_image(kind(PNG))
        assert image.name is None
        np.testing.assert_array_equal(image.pixels, PIXELS)

    def test_an_open_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(PNG)
        with path.open("rb") as file:
            image = read_image(file)
        assert image.name == "a.png"
        np.testing.assert_array_equal(image.pixels, PIXELS)
        assert read_image(io.BytesIO(PNG)).name is None

    def test_a_pillow_image_is_read_and_left_alone(self) -> None:
        image = Image.fromarray(PIXELS)
        image.getexif()[0x0112] = 6
        assert read_image(image).pixels.shape == (3, 2, 3)
        assert image.size == (3, 2)
        assert image.getexif()[0x0112] == 6

    def test_a_image_passes_through(self) -> None:
        image = LoadedImage(PIXELS, "x")
        assert read_image(image) is image

    @pytest.mark.parametrize(
        "array",
        [
            PIXELS,
            PIXELS.astype(np.uint16) * 257,
            PIXELS / 255,
            (PIXELS / 255).astype(np.float32),
            np.dstack([PIXELS, np.full((2, 3), 255, np.uint8)]),
            PIXELS[:, ::-1][:, ::-1],  # not contiguous
        ],
        ids=["uint8", "uint16", "float64", "float32", "rgba", "strided"],
    )
    def test_arrays(self, array: np.ndarray) -> None:
        np.testing.assert_array_equal(read_image(array).pixels, PIXELS)

    @pytest.mark.parametrize("array", [PIXELS[..., 0], PIXELS[..., :1]])
    def test_gray_arrays(self, array: np.ndarray) -> None:
        np.testing.assert_array_equal(read_image(array).pixels, np.repeat(PIXELS[..., :1], 3, axis=2))

    def test_an_array_is_copied_and_frozen(self) -> None:
        array = PIXELS.copy()
        image = read_image(array)
        array[:] = 0
        np.testing.assert_array_equal(image.pixels, PIXELS)
        assert not image.pixels.flags.writeable
        assert not read_image(PNG).pixels.flags.writeable

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
    def test_tensors_channels_first_and_last(self, dtype: torch.dtype) -> None:
        tensor = torch.tensor([[RED, GREEN], [BLUE, WHITE]], dtype=torch.uint8)
        expected = tensor.numpy()
        if dtype.is_floating_point:
            tensor = (tensor / 255).to(dtype)
        np.testing.assert_array_equal(read_image(tensor).pixels, expected)
        np.testing.assert_array_equal(read_image(tensor.permute(2, 0, 1)).pixels, expected)

    @given(st.integers(0, 65_535))
    def test_sixteen_bits_are_scaled_by_257_rounded(self, value: int) -> None:
        pixel = read_image(np.full((1, 1), value, np.uint16)).pixels[0, 0, 0]
        assert abs(int(pixel) * 257 - value) <= 128

    def test_anything_else_is_named(self) -> None:
        with pytest.raises(ImageError, match=r"expected an image, got int: give a path"):
            read_image(42)

    def test_an_open_text_file(self) -> None:
        with pytest.raises(ImageError, match=r"returns text, not bytes; open it with mode 'rb'"):
            read_image(io.StringIO("x"))

    @pytest.mark.parametrize(
        "address", ["https://example.org/a.jpg", "s3://bucket/a.jpg", Path("http://a/b.jpg")]
    )
    def test_urls_are_rejected(self, address: str | Path) -> None:
        with pytest.raises(ImageError, match=r"URLs are not supported; download the image and give its path"):
            read_image(address)


class TestModes:
    @pytest.mark.parametrize(
        ("image", "file_format"),
        [
            (Image.new("L", (3, 2), 200), "PNG"),
            (Image.new("1", (3, 2), 1), "PNG"),
            (Image.new("I;16", (3, 2), 200 * 257), "PNG"),
            (Image.new("I;16", (3, 2), 200 * 257), "TIFF"),
            (Image.new("I", (3, 2), 200 * 257), "TIFF"),
            (Image.new("F", (3, 2), 200 / 255), "TIFF"),
            (Image.new("LA", (3, 2), (200, 255)), "PNG"),
            (Image.new("RGB", (3, 2), (200, 200, 200)).quantize(4), "GIF"),
            (Image.new("CMYK", (3, 2), (0, 0, 0, 55)), "TIFF"),
        ],
        ids=lambda value: getattr(value, "mode", value),
    )
    def test_gray_two_hundred_in_every_mode(self, image: Image.Image, file_format: str) -> None:
        pixels = read_image(encoded(image, file_format)).pixels
        assert pixels.shape == (2, 3, 3)
        assert np.unique(pixels).tolist() == ([255] if image.mode == "1" else [200])

    def test_cmyk_jpeg(self) -> None:
        pixels = read_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).pixels
        assert np.abs(pixels.astype(int) - RED).max() <= 3

    def test_palette_with_transparency_is_composited_on_white(self) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *GREEN])
        image.putpixel((1, 0), 1)
        image = read_image(encoded(image, transparency=1))
        assert image.pixels.tolist() == [[list(RED), list(WHITE)]]

    def test_transparent_pixels_are_composited_on_white(self) -> None:
        image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))  # black hides under what cannot be seen
        image.putpixel((1, 0), (0, 0, 0, 255))
        image.putpixel((2, 0), (0, 0, 0, 128))
        expected = [[[255] * 3, [0] * 3, [127] * 3]]
        assert read_image(encoded(image)).pixels.tolist() == expected
        assert read_image(np.asarray(image)).pixels.tolist() == expected

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_rotation_is_applied(self, orientation: int) -> None:
        image = Image.new("RGB", (40, 20), WHITE)
        ImageDraw.Draw(image).rectangle((0, 0, 9, 9), fill=RED)  # marks the upper left corner as stored
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = read_image(encoded(image, "JPEG", exif=exif.tobytes(), quality=95)).pixels
        assert pixels.shape == ((20, 40, 3) if orientation < 5 else (40, 20, 3))
        corners = {
            1: (0, 0),
            2: (0, -1),
            3: (-1, -1),
            4: (-1, 0),
            5: (0, 0),
            6: (0, -1),
            7: (-1, -1),
            8: (-1, 0),
        }
        assert pixels[corners[orientation]][1] < 60  # red there, white at the other corners

    def test_damaged_exif_is_ignored(self) -> None:
        content = encoded(Image.new("RGB", (3, 2), WHITE), "JPEG", exif=b"Exif\0\0rubbishrubbish")
        assert read_image(content).pixels.shape == (2, 3, 3)

    @pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
    def test_the_first_frame_of_an_animation(self, file_format: str) -> None:
        frames = [Image.new("RGB", (4, 4), color) for color in (RED, GREEN)]
        content = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], duration=50)
        assert np.abs(read_image(content).pixels.astype(int) - RED).max() <= 3

    @pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (3, 20_000)])
    def test_smallest_and_strips(self, size: tuple[int, int]) -> None:
        assert read_image(encoded(Image.new("RGB", size))).pixels.shape == (size[1], size[0], 3)


class TestBroken:
    def read(self, tmp_path: Path, content: bytes, name: str = "a.jpg") -> LoadedImage:
        path = tmp_path / name
        path.write_bytes(content)
        return read_image(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"none\.jpg: there is no such file; check the path"):
            read_image(tmp_path / "none.jpg")

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="this is a folder; give the images in it"):
            read_image(tmp_path)

    def test_a_name_that_cannot_be(self) -> None:
        with pytest.raises(ImageError, match=r"no file can have this name"):
            read_image("a\0b.jpg")

    def test_empty(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"a\.jpg: the file is empty \(0 bytes\)"):
            self.read(tmp_path, b"")
        with pytest.raises(ImageError, match="the given bytes: the file is empty"):
            read_image(b"")

    def test_no_image(self, tmp_path: Path) -> None:
        with pytest.raises(
            ImageError, match=r"not an image in a supported format \(JPEG, .*convert it to JPEG or PNG"
        ):
            self.read(tmp_path, b"hello, I am a text file")

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
    def test_truncated_anywhere_is_an_image_error(self, tmp_path: Path, file_format: str) -> None:
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        content = encoded(noise, file_format)
        for kept in (0.02, 0.3, 0.6):
            with pytest.raises(ImageError, match=r"truncated or damaged|not an image"):
                self.read(tmp_path, content[: int(len(content) * kept)])

    def test_truncated_in_the_middle_says_so(self, tmp_path: Path) -> None:
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        with pytest.raises(
            ImageError, match=r"a\.jpg: the image is truncated or damaged \(.+\); copy or download"
        ):
            self.read(tmp_path, encoded(noise, "JPEG")[:2000])

    @pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow alone warns of the first
    def test_a_bomb_is_rejected_before_decoding(
        self, tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "MAX_PIXELS", 99_000_000)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(
                ImageError, match=r"a\.jpg: more than .* pixels, the limit for decoding; shrink or"
            ):
                self.read(tmp_path, huge_png(side, side))
        assert caught == []

    def test_the_limit_holds_though_pillows_is_switched_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        with pytest.raises(ImageError, match=r"more than 178,956,970 pixels, .* \(14,000 × 13,000\)"):
            read_image(huge_png(14_000, 13_000))
        assert Image.MAX_IMAGE_PIXELS is None

    def test_formats_that_start_programs_are_rejected(self) -> None:
        postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
        with pytest.raises(ImageError, match=r"a PostScript drawing \(EPS\), which is not supported"):
            read_image(postscript)

    def test_a_mode_without_rgb(self) -> None:
        with pytest.raises(ImageError, match=r"the given La image: images of mode La are not supported"):
            read_image(Image.new("La", (2, 2)))

    def test_no_pixels(self) -> None:
        with pytest.raises(ImageError, match=r"the image has no pixels \(0 × 5\)"):
            read_image(Image.new("RGB", (0, 5)))

    def test_gray_beyond_sixteen_bits(self) -> None:
        with pytest.raises(ImageError, match="gray values from 70000 to 70000, expected 0 to 65535"):
            read_image(Image.new("I", (2, 2), 70_000))

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (
                np.zeros((3, 4, 5), np.uint8),
                r"has shape \(3, 4, 5\), expected .*channels first use .transpose",
            ),
            (np.zeros(7, np.uint8), r"has shape \(7,\), expected \(height, width\)"),
            (np.zeros((0, 4, 3), np.uint8), r"has shape \(0, 4, 3\): no pixels"),
            (np.zeros((2, 2), np.int64), "has type int64, expected uint8, uint16 or floating point"),
            (
                np.full((2, 2), 255.0),
                "has values from 255 to 255, expected floating point from 0 to 1: divide",
            ),
            (np.full((2, 2), np.nan), "has values from nan to nan, expected floating point from 0 to 1"),
        ],
    )
    def test_arrays_that_do_not_fit(self, array: np.ndarray, message: str) -> None:
        with pytest.raises(ImageError, match=message):
            read_image(array)


class TestPathsThatAreNoFiles:
    """Opening a pipe would wait for its writer, and pathlib raises errors of its own for other paths."""

    def test_a_pipe_is_refused_before_it_is_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.jpg")
        with pytest.raises(ImageError, match=r"a\.jpg: this is a pipe, not a file; save its data to a file"):
            read_image(tmp_path / "a.jpg")

    def test_a_device(self) -> None:
        with pytest.raises(ImageError, match=r"/dev/zero: this is a device, not a file"):
            read_image("/dev/zero")

    def test_a_socket(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)  # the address of a socket must be short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s.jpg")
            with pytest.raises(ImageError, match=r"s\.jpg: this is a socket, not a file"):
                read_image("s.jpg")

    def test_links(self, tmp_path: Path) -> None:
        (tmp_path / "loop.jpg").symlink_to("loop.jpg")
        (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
        with pytest.raises(ImageError, match=r"loop\.jpg: the file cannot be opened \(Too many levels"):
            read_image(tmp_path / "loop.jpg")
        with pytest.raises(ImageError, match=r"gone\.jpg: the link leads to a file that does not exist"):
            read_image(tmp_path / "gone.jpg")

    def test_a_tilde_at_the_beginning_of_a_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("~photo.png").write_bytes(PNG)
        assert read_image("~photo.png").name == "~photo.png"
        with pytest.raises(ImageError, match=r"~nobody-of-this-name/a\.png: there is no such file"):
            read_image("~nobody-of-this-name/a.png")

    def test_names_that_are_too_long_are_cut_in_the_message(self) -> None:
        with pytest.raises(
            ImageError, match=r"^a+…a+\.jpg: the file cannot be opened \(File name too long\)"
        ):
            read_image("a" * 5000 + ".jpg")
        with pytest.raises(ImageError, match=r"^data:image/png;base64,A+…A+: data URIs are not supported"):
            read_image("data:image/png;base64," + "A" * 5000)

    def test_a_name_that_is_not_utf8(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
        with pytest.raises(ImageError, match=r"caf\\udce9\.png: there is no such file"):
            read_image(path)
        path.write_bytes(PNG)
        assert read_image(path).name == path.name
