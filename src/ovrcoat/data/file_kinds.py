"""Recognize files that are no image, or an image of another format, by their first bytes."""

HEAD_BYTES = 512
# Other formats that Pillow knows are vector drawings or start other programs (EPS: Ghostscript).
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000", "TGA")
# For `Image.open(formats=...)`, so that no code of other formats runs. Pillow opens MPO as JPEG. TGA has no
# signature, so it is tried last.
OPENED_FORMATS = tuple(name for name in FORMATS if name != "MPO")
_AGAIN = "copy or download it again"
_CONVERT = "convert it to JPEG or PNG"
_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself; run: git lfs pull"),
    (b"\x00\x05\x16\x07", "metadata that macOS stored next to an image ('._' file); it can be deleted"),
    (b"%!PS", "a PostScript drawing (EPS), which is not supported; convert it to JPEG or PNG"),
    (b"%PDF", "a PDF document, not an image; export its pages as images"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"PK\x03\x04", "a zip archive, not an image; unpack it first"),
    (b"\xff\x0a", f"a JPEG XL image, which is not supported; {_CONVERT}"),
    (b"\x00\x00\x00\x0cJXL ", f"a JPEG XL image, which is not supported; {_CONVERT}"),
    (b"FUJIFILMCCD-RAW", f"a raw image of a camera, which is not supported; {_CONVERT}"),
    (b"IIU\x00", f"a raw image of a camera, which is not supported; {_CONVERT}"),
    (b"IIRO", f"a raw image of a camera, which is not supported; {_CONVERT}"),
    (b"\xff\xd8\xff", f"a JPEG file that is truncated or damaged at its beginning; {_AGAIN}"),
    (b"\x89PNG\r\n\x1a\n", f"a PNG file that is truncated or damaged at its beginning; {_AGAIN}"),
    (b"GIF8", f"a GIF file that is truncated or damaged at its beginning; {_AGAIN}"),
    (
        (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
        "a TIFF file whose number of bands, sample type or compression is not supported, or which is "
        f"damaged; {_CONVERT}",
    ),
)
_BRANDS = {
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"): (
        f"a HEIC image, which is not supported; {_CONVERT}"
    ),
    (b"crx ",): f"a raw image of a camera, which is not supported; {_CONVERT}",
    (b"avif", b"avis"): f"an AVIF file that is truncated, damaged or not supported here; {_CONVERT}",
}


def describe(head: bytes) -> str | None:
    """Return what a file is and what to do with it, from its first `HEAD_BYTES`; None if it is unknown."""
    for start, description in _STARTS:
        if head.startswith(start):
            return description
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        described = (description for brands, description in _BRANDS.items() if brand in brands)
        return next(described, "a video, not an image; extract its frames first")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image: the download failed; download the image itself"
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return f"a vector drawing (SVG), which is not supported; {_CONVERT}"
    return None
