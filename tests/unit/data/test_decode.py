"""Files that image viewers show although something in them is damaged or unusual."""

import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ovrcoat.data import decode
from ovrcoat.data.file_kinds import FORMATS, OPENED_FORMATS
from ovrcoat.data.images import LoadedImage, read_image
from ovrcoat.errors import ImageError

WIDTH, HEIGHT = 48, 32


def scene() -> np.ndarray:
    """An image without symmetry, so that a rotation is visible."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 5, y * 7, (x + y) * 3], -1).astype(np.uint8)


PIXELS = scene()


def encoded(file_format: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def jpeg(**options: object) -> bytes:
    return encoded("JPEG", quality=92, **options)


def with_segment(marker: int, payload: bytes, content: bytes) -> bytes:
    """Insert a JPEG segment behind the first marker."""
    return content[:2] + struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload + content[2:]


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF segment with one directory of (tag, type, count, value)."""
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + body + b"\0\0\0\0"


ROTATED = (0x0112, 3, 1, struct.pack("<HH", 6, 0))
ROTATED_EXIF = {
    "text instead of a fraction": exif(ROTATED, (0x011A, 2, 3, b"72\0\0")),
    "numbers instead of text": exif(ROTATED, (0x9000, 3, 2, struct.pack("<HH", 2, 3))),
    "directory behind the end": exif(ROTATED, (0x8825, 4, 1, struct.pack("<I", 60_000))),
    "directory as a number": exif(ROTATED, (0x8769, 3, 1, struct.pack("<HH", 9, 0))),
}
UNUSABLE_EXIF = {
    "no header": b"Exif\0\0b'Exif\\x00'",
    "orientation nine": exif((0x0112, 3, 1, struct.pack("<HH", 9, 0))),
    "orientation as text": exif((0x0112, 2, 2, b"6\0\0\0")),
}
EMPTY_EXIF = {
    "blank": b"Exif\0\0",
    "cut off": b"Exif\0\0II*\0\x08\0\0\0\x20\0\x12\x01\x03\0\x01\0",
    "starts behind the end": b"Exif\0\0II*\0\xff\xff\0\0",
    "orientation zero": exif((0x0112, 3, 1, struct.pack("<HH", 0, 0))),
}


class TestExif:
    @pytest.mark.parametrize("payload", ROTATED_EXIF.values(), ids=ROTATED_EXIF)
    def test_the_orientation_is_used_although_other_tags_are_broken(self, payload: bytes) -> None:
        image = read_image(with_segment(0xE1, payload, jpeg(dpi=(72, 72))))
        assert image.pixels.shape == (WIDTH, HEIGHT, 3)
        assert image.notes == ()

    @pytest.mark.parametrize("payload", UNUSABLE_EXIF.values(), ids=UNUSABLE_EXIF)
    def test_an_unreadable_orientation_is_upright_with_a_note(self, payload: bytes) -> None:
        image = read_image(with_segment(0xE1, payload, jpeg(dpi=(72, 72))))
        np.testing.assert_array_equal(image.pixels, read_image(jpeg()).pixels)
        assert len(image.notes) == 1
        assert "the image is taken as upright" in image.notes[0]

    @pytest.mark.parametrize("payload", EMPTY_EXIF.values(), ids=EMPTY_EXIF)
    def test_exif_without_orientation(self, payload: bytes) -> None:
        image = read_image(with_segment(0xE1, payload, jpeg(dpi=(72, 72))))
        np.testing.assert_array_equal(image.pixels, read_image(jpeg()).pixels)
        assert image.notes == ()

    def test_png_with_broken_exif(self) -> None:
        text = PngImagePlugin.PngInfo()
        text.add_text("Raw profile type exif", "\nexif\n   8\nnot hex at all\n")
        for content in (
            encoded("PNG", pnginfo=text),
            encoded("PNG", exif=b"Exif\0\0\x00\x08\x00\x02\x01\x12\x00\x03"),
        ):
            image = read_image(content)
            np.testing.assert_array_equal(image.pixels, PIXELS)
            assert image.notes == ("its EXIF data is damaged; the image is taken as upright",)


class TestDamage:
    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "optimize": True}])
    @pytest.mark.parametrize("missing", [1, 2])
    def test_jpeg_without_its_end_marker(self, options: dict[str, object], missing: int) -> None:
        content = jpeg(**options)
        image = read_image(content[:-missing])
        np.testing.assert_array_equal(image.pixels, read_image(content).pixels)
        assert image.notes == ("its end marker is missing; all pixels are complete",)

    @pytest.mark.parametrize("options", [{}, {"progressive": True}])
    @pytest.mark.parametrize("missing", [10, 40, 200])
    def test_jpeg_that_lacks_pixels_is_an_error(self, options: dict[str, object], missing: int) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        content = encoded("JPEG", noise, **options)
        with pytest.raises(ImageError, match=r"truncated or damaged \(.+\); copy or download it again"):
            read_image(content[:-missing])

    def test_jpeg_that_ends_between_two_parts_is_an_error(self) -> None:
        """At these places the decoder has no half-decoded block that would show the damage."""
        y, x = np.mgrid[:240, :320]
        disk = np.where((y - 120) ** 2 + (x - 160) ** 2 < 6000, 200, 40).astype(np.uint8)
        scans = encoded("JPEG", disk, progressive=True)
        restarts = encoded("JPEG", disk, restart_marker_rows=1)
        ends = [match.start() for match in re.finditer(rb"\xff\xc4", scans)][1:]
        ends += [match.start() for match in re.finditer(rb"\xff\xda", scans)][1:]
        cut = [scans[:end] for end in ends]
        cut += [restarts[: match.start()] for match in re.finditer(rb"\xff[\xd0-\xd7]", restarts)]
        cut += [restarts[: match.end()] for match in re.finditer(rb"\xff[\xd0-\xd7]", restarts)]
        assert len(cut) > 60
        for content in cut:
            with pytest.raises(ImageError, match="truncated or damaged"):
                read_image(content)
        for content in (scans, restarts):
            assert len(read_image(content[:-2]).notes) == 1

    def test_without_end_marker_and_rotated(self) -> None:
        content = with_segment(0xE1, exif(ROTATED), jpeg())
        assert read_image(content[:-2]).pixels.shape == (WIDTH, HEIGHT, 3)

    def test_data_behind_the_end_is_ignored(self) -> None:
        image = read_image(jpeg() + b"\0" * 5000 + b"a video")
        np.testing.assert_array_equal(image.pixels, read_image(jpeg()).pixels)
        assert image.notes == ()

    def chunk(self, kind: bytes, data: bytes, *, is_sound: bool) -> bytes:
        checksum = zlib.crc32(kind + data) if is_sound else 0
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    @pytest.mark.parametrize("kind", [b"tEXt", b"iTXt", b"zTXt", b"tIME", b"gAMA", b"xyzw"])
    def test_png_with_a_wrong_checksum_in_a_chunk_that_no_pixel_needs(self, kind: bytes) -> None:
        content = encoded("PNG")
        damaged = content[:33] + self.chunk(kind, b"abcde", is_sound=False) + content[33:]
        image = read_image(damaged)
        np.testing.assert_array_equal(image.pixels, PIXELS)
        assert image.notes == ("its metadata is damaged and was ignored",)

    def test_png_with_text_that_cannot_be_unpacked(self) -> None:
        content = encoded("PNG")
        damaged = content[:33] + self.chunk(b"zTXt", b"key\0\0not zlib", is_sound=True) + content[33:]
        np.testing.assert_array_equal(read_image(damaged).pixels, PIXELS)

    def test_png_with_a_wrong_checksum_in_its_pixels_is_an_error(self) -> None:
        content = encoded("PNG")
        position = content.index(b"IDAT") + 12
        damaged = content[:position] + bytes([content[position] ^ 255]) + content[position + 1 :]
        with pytest.raises(ImageError, match="truncated or damaged"):
            read_image(damaged)

    def test_transparency_survives_damaged_metadata(self) -> None:
        palette = Image.new("P", (2, 1))
        palette.putpalette([255, 0, 0, 0, 255, 0])
        palette.putpixel((1, 0), 1)
        buffer = io.BytesIO()
        palette.save(buffer, "PNG", transparency=1)
        content = buffer.getvalue()
        damaged = content[:33] + self.chunk(b"tEXt", b"a\0b", is_sound=False) + content[33:]
        assert read_image(damaged).pixels.tolist() == [[[255, 0, 0], [255, 255, 255]]]

    def test_no_warning_of_pillow_comes_through(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read_image(with_segment(0xE1, UNUSABLE_EXIF["no header"], jpeg())[:-2])
        assert caught == []


def tiff(pixels: np.ndarray, *tags: tuple[int, int, int], bits: int = 8) -> bytes:
    """An uncompressed little-endian TIFF; `tags` are additional (tag, type, value)."""
    height, width = pixels.shape[:2]
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    data = pixels.tobytes()
    return raw_tiff(data, (width, height), *tags, bands=bands, bits=bits)


def raw_tiff(
    data: bytes, size: tuple[int, int], *tags: tuple[int, int, int], bands: int = 1, bits: int = 8
) -> bytes:
    width, height = size
    behind = 8 + len(data)
    entries = [(256, 3, 1, width), (257, 3, 1, height), (259, 3, 1, 1), (262, 3, 1, 2 if bands > 2 else 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, bands), (278, 3, 1, height), (279, 4, 1, len(data))]
    entries += [(tag, kind, 1, value) for tag, kind, value in tags]
    count = len(entries) + 1
    position = behind + 2 + 12 * count + 4
    entries.append((258, 3, bands, bits if bands == 1 else position))
    entries.sort()
    directory = struct.pack("<H", count) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    depths = struct.pack(f"<{bands}H", *[bits] * bands)
    return b"II*\0" + struct.pack("<I", behind) + data + directory + b"\0\0\0\0" + depths


class TestBands:
    near_infrared = np.dstack([PIXELS, np.full((HEIGHT, WIDTH), 30, np.uint8)])

    def test_a_band_that_is_not_declared_as_alpha_changes_no_color(self) -> None:
        for tags, notes in (((), 1), (((338, 3, 0),), 0)):
            image = read_image(tiff(self.near_infrared, *tags))
            np.testing.assert_array_equal(image.pixels, PIXELS)
            assert len(image.notes) == notes

    def test_the_note_names_the_band(self) -> None:
        image = read_image(tiff(self.near_infrared))
        assert image.notes == ("its last band is not declared as alpha and was ignored",)

    def test_declared_alpha_is_used_with_a_note(self) -> None:
        image = read_image(tiff(self.near_infrared, (338, 3, 2)))
        assert image.pixels.min() > 200
        assert "declared as alpha (transparency), so it is composited onto white" in image.notes[0]

    @pytest.mark.parametrize("tags", [(), ((338, 3, 2),)])
    def test_opaque_alpha_needs_no_note(self, tags: tuple[tuple[int, int, int], ...]) -> None:
        opaque = np.dstack([PIXELS, np.full((HEIGHT, WIDTH), 255, np.uint8)])
        image = read_image(tiff(opaque, *tags))
        np.testing.assert_array_equal(image.pixels, PIXELS)
        assert image.notes == ()

    def test_unused_bytes_are_not_alpha(self) -> None:
        empty = np.dstack([PIXELS, np.zeros((HEIGHT, WIDTH), np.uint8)])
        image = read_image(encoded("TGA", empty))
        np.testing.assert_array_equal(image.pixels, PIXELS)
        assert image.notes == ("its alpha is 0 everywhere and was ignored",)
        image = read_image(encoded("PNG", empty))
        assert image.pixels.min() == 255
        assert image.notes == ("all its pixels are transparent, so the image is white",)

    def test_an_image_that_pillow_has_opened(self) -> None:
        opened = Image.open(io.BytesIO(tiff(self.near_infrared)))
        np.testing.assert_array_equal(read_image(opened).pixels, PIXELS)


class TestBitDepth:
    gray = PIXELS[..., 0].astype(np.uint16)

    @pytest.mark.parametrize(("bits", "factor"), [(10, 64), (12, 16), (14, 4)])
    @pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
    def test_sensor_data_in_sixteen_bits_is_noted(self, file_format: str, bits: int, factor: int) -> None:
        values = self.gray * (1 << bits - 8)
        image = read_image(encoded(file_format, values))
        np.testing.assert_array_equal(image.pixels[..., 0], (values.astype(int) + 128) // 257)
        (note,) = image.notes
        assert f"if they hold {bits}-bit data, multiply them by {factor}" in note

    def test_arrays_too(self) -> None:
        assert "12-bit data" in read_image(np.repeat(self.gray[..., None] * 16, 3, 2)).notes[0]

    def test_color_too(self) -> None:
        values = PIXELS.astype(np.uint16) * 16
        assert "12-bit data" in read_image(tiff(values, bits=16)).notes[0]
        assert read_image(tiff(PIXELS.astype(np.uint16) * 257, bits=16)).notes == ()

    def test_the_full_range_needs_no_note(self) -> None:
        image = read_image(encoded("PNG", self.gray * 257))
        np.testing.assert_array_equal(image.pixels[..., 0], PIXELS[..., 0])
        assert image.notes == ()

    def test_black_needs_no_note(self) -> None:
        assert read_image(np.zeros((4, 4), np.uint16)).notes == ()

    def test_a_file_of_twelve_bits_per_pixel_has_its_own_range(self) -> None:
        # two pixels in three bytes: 0xFFF and 0x800
        image = read_image(raw_tiff(bytes([0xFF, 0xF8, 0x00]), (2, 1), bits=12))
        assert image.pixels[0, :, 0].tolist() == [255, 128]
        assert image.notes == ()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


class TestReasons:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
                "a Git LFS pointer, .*git lfs",
            ),
            (
                b"\xef\xbb\xbf\n<!DOCTYPE html><html>404</html>",
                "an HTML page, not an image: the download failed",
            ),
            (HEIC, "a HEIC image, which is not supported; convert it to JPEG or PNG"),
            (b"\0\0\0\x18ftypcrx \0\0\0\1", "a raw image of a camera, which is not supported"),
            (b"\0\0\0\x18ftypisom\0\0\2\0", "a video, not an image; extract its frames first"),
            (b"\0\5\x16\7\0\2\0\0Mac OS X", r"metadata that macOS stored next to an image \('\._' file\)"),
            (b"%PDF-1.7\n", "a PDF document, not an image"),
            (b"\x1f\x8b\x08\0", "compressed with gzip; unpack it first"),
            (b"PK\x03\x04\0\0", "a zip archive, not an image"),
            (b"<?xml version='1.0'?><svg/>", r"a vector drawing \(SVG\)"),
            (b"\xff\x0a\0\0", "a JPEG XL image, which is not supported"),
            (
                b"\xff\xd8\xff\xe0\0\x10JFIF",
                "a JPEG file that is truncated or damaged at its beginning; copy or",
            ),
        ],
    )
    def test_what_a_file_is_instead_of_an_image(self, tmp_path: Path, content: bytes, reason: str) -> None:
        path = tmp_path / "a.jpg"
        path.write_bytes(content)
        with pytest.raises(ImageError, match=rf"a\.jpg: {reason}"):
            read_image(path)

    def test_a_tiff_of_an_unsupported_kind(self) -> None:
        seven_bands = np.zeros((2, 2, 7), np.uint8)
        with pytest.raises(ImageError, match="a TIFF file whose number of bands, sample type or compression"):
            read_image(tiff(seven_bands))

    @pytest.mark.parametrize("tags", [((50706, 4, 0x0104),), ((254, 4, 1), (330, 4, 8))])
    def test_the_preview_of_a_raw_image_is_not_taken_for_the_image(
        self, tags: tuple[tuple[int, int, int], ...]
    ) -> None:
        with pytest.raises(
            ImageError, match=r"a raw image of a camera \(DNG\), of which only a small preview"
        ):
            read_image(tiff(PIXELS, *tags))


def test_notes_travel_with_the_image() -> None:
    assert LoadedImage(PIXELS).notes == ()
    image = read_image(jpeg()[:-2])
    assert read_image(image).notes == image.notes != ()


def test_only_supported_formats_are_opened():
    Image.init()
    assert set(OPENED_FORMATS) <= set(Image.OPEN), "Pillow raises KeyError for a format that it does not know"
    assert {*OPENED_FORMATS, "MPO"} == set(FORMATS)
    sources = Path(decode.__file__).parents[1].rglob("*.py")
    opened = [call for path in sources for call in re.findall(r"Image\.open\(.*", path.read_text())]
    assert len(opened) > 5
    assert [call for call in opened if "formats=" not in call] == []
