"""Upper limits on the size of images. `system/input_files.py` has the limits of files in bytes."""

from ovrcoat.system.input_files import SizeLimit

MAX_PIXELS = 178_956_970  # Pillow's own default limit (512 MiB of RGB); applied even if Pillow's is disabled
DECODED = SizeLimit(2048, "OVRCOAT_MAX_DECODED_MIB")
ROW_BYTES = 24  # Pillow's pointer to a row, and what each row is rounded up by
LABEL_BYTES = 40  # per pixel, while the values of a label map are decoded, looked up and counted


def decoding_problem(width: int, height: int, *, pixel_bytes: int) -> str | None:
    """Return why an image must not be decoded, or None.

    Args:
        width: in pixels.
        height: in pixels.
        pixel_bytes: that all steps of decoding take together per pixel, at their peak.
    """
    if width * height > MAX_PIXELS:
        return (
            f"more than {MAX_PIXELS:,} pixels, the limit for decoding; shrink or split the image "
            f"({width:,} × {height:,})"
        )
    needed = width * height * pixel_bytes + height * ROW_BYTES
    if needed <= DECODED.bytes:
        return None
    return (
        f"{width:,} × {height:,} pixels take about {needed >> 20:,} MiB to decode, expected at most "
        f"{DECODED.bytes >> 20:,} MiB; shrink or split the image, or raise the limit with the environment "
        f"variable {DECODED.variable} (in MiB)"
    )
