"""Decode label files: encoded bytes in, one id per pixel out. Values are never converted or rescaled."""

import io

import numpy as np
from jaxtyping import Int32
from PIL import Image

from ovrcoat.data.pillow_warnings import pillow_warnings_ignored
from ovrcoat.errors import DatasetError
from ovrcoat.formats.limits import LABEL_BYTES, decoding_problem
from ovrcoat.formats.panoptic_png import PanopticPngError, decode_id_map, split_channels

LABEL_SUFFIXES = (".png", ".tif", ".tiff")
# Modes with one channel of integers; for P this is the palette index. The mode of 16-bit images depends on
# Pillow's version.
VALUE_MODES = ("L", "P", "1", "I;16", "I;16B", "I;16L", "I")
STRETCH_FACTORS = {"L;2": 85, "L;4": 17}  # Pillow stretches grayscale of 2 and 4 bits to 0..255


def decode_ids(content: bytes, *, location: str) -> Int32[np.ndarray, "height width"]:
    """Decode a panoptic PNG: segment id = R + 256 G + 65536 B; 0 is void. An alpha channel is ignored.

    Raises:
        DatasetError: The content is damaged, too large or not 8-bit RGB; the message starts with `location`.
    """
    with pillow_warnings_ignored():  # about large images; `decode_id_map` has its own limit
        try:
            id_map = decode_id_map(content).id_map
        except PanopticPngError as error:
            raise DatasetError(f"{location}: {error}") from error
    return id_map


def decode_channels(content: bytes, *, location: str) -> Int32[np.ndarray, "height width 3"]:
    """Decode an RGB image whose channels have separate meanings, such as ADE20K's instance labels.

    Raises:
        DatasetError: As for `decode_ids`.
    """
    return np.stack(split_channels(decode_ids(content, location=location)), axis=-1)


def decode_values(content: bytes, *, location: str) -> Int32[np.ndarray, "height width"]:
    """Decode one integer of 8 or 16 bits per pixel from PNG or TIFF; for palette images the index.

    Raises:
        DatasetError: The content cannot be decoded or has several channels.
    """
    image = _decode(content, location=location)
    if image.mode not in VALUE_MODES:
        raise DatasetError(
            f"{location}: the image has mode {image.mode}, expected one channel of 8 or 16 bits with a "
            "category id per pixel; convert colors to ids first"
        )
    return np.asarray(image).astype(np.int32) // STRETCH_FACTORS.get(image.info["raw mode"], 1)


def map_values(
    values: Int32[np.ndarray, "height width"], table: dict[int, int], *, location: str, advice: str
) -> Int32[np.ndarray, "height width"]:
    """Replace each value by `table[value]`, for example dataset ids by positions in a list of categories.

    Raises:
        DatasetError: A value is not in `table`; the message ends with `advice`.
    """
    present, inverse = np.unique(values, return_inverse=True)
    unknown = [value for value in present.tolist() if value not in table]
    if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (" …" if len(unknown) > 5 else "")
        raise DatasetError(f"{location}: pixels hold {shown}, which belongs to no category. {advice}")
    mapped = np.array([table[value] for value in present.tolist()], dtype=np.int32)
    return mapped[inverse].reshape(values.shape)


def _decode(content: bytes, *, location: str) -> Image.Image:
    with pillow_warnings_ignored():  # about large images; the limit is checked below
        try:
            image = Image.open(io.BytesIO(content), formats=("PNG", "TIFF"))
            if problem := decoding_problem(image.width, image.height, pixel_bytes=LABEL_BYTES):
                raise DatasetError(f"{location}: {problem}")
            raw_mode = str(image.tile[0].args) if image.tile else ""
            image.load()
            image.info["raw mode"] = raw_mode
        except DatasetError:
            raise
        except Exception as error:  # decoders raise all kinds of exceptions for damaged files
            reason = str(error) or type(error).__name__
            raise DatasetError(
                f"{location}: the labels cannot be decoded ({reason}); expected a complete PNG or TIFF file: "
                "copy or download it again"
            ) from error
    return image
