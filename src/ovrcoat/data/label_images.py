"""Label pictures: bytes in, ids per pixel out. Their values are data, so nothing is converted on the way."""

import io

import numpy as np
from jaxtyping import Int32
from PIL import Image

from ovrcoat.data.images import MAX_PIXELS, pillow_warnings_ignored
from ovrcoat.errors import DatasetError
from ovrcoat.formats.panoptic_png import image_to_id_map

# One channel of whole numbers; for P the palette's index. Which I 16 bits have depends on Pillow's version.
VALUE_MODES = ("L", "P", "1", "I;16", "I;16B", "I;16L", "I")
STRETCHED = {"L;2": 85, "L;4": 17}  # Pillow spreads grey of 2 and 4 bits over 0..255: by this factor


def decode_ids(content: bytes, *, place: str) -> Int32[np.ndarray, "height width"]:
    """COCO's id PNG: R + 256 G + 65536 B; 0 is void.

    Raises:
        DatasetError: it cannot be decoded or is not 8-bit RGB.
    """
    image = _decode(content, place=place)
    if image.mode != "RGB":
        raise DatasetError(
            f"{place}: this picture is of mode {image.mode}, expected 8-bit RGB, which holds a segment's id "
            "as R + 256 G + 65536 B; write it again in that form"
        )
    return image_to_id_map(image)


def decode_channels(content: bytes, *, place: str) -> Int32[np.ndarray, "height width 3"]:
    """An RGB picture whose channels mean different things, as ADE20K's instances have them.

    Raises:
        DatasetError: as `decode_ids`.
    """
    ids = decode_ids(content, place=place)
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1)


def decode_values(content: bytes, *, place: str) -> Int32[np.ndarray, "height width"]:
    """One number per pixel, 8 or 16 bits, PNG or TIFF; of a palette picture the index.

    Raises:
        DatasetError: it cannot be decoded or has several channels.
    """
    image = _decode(content, place=place)
    if image.mode not in VALUE_MODES:
        raise DatasetError(
            f"{place}: this picture is of mode {image.mode}, expected one channel of 8 or 16 bits with a "
            "category's id per pixel; a coloured picture has to be turned into ids first"
        )
    return np.asarray(image).astype(np.int32) // STRETCHED.get(image.info["raw mode"], 1)


def positions_of(
    values: Int32[np.ndarray, "height width"], table: dict[int, int], *, place: str, advice: str
) -> Int32[np.ndarray, "height width"]:
    """Replace each value by `table`'s.

    Raises:
        DatasetError: a value is not in `table`; the message ends with `advice`.
    """
    present, inverse = np.unique(values, return_inverse=True)
    unknown = [value for value in present.tolist() if value not in table]
    if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (" …" if len(unknown) > 5 else "")
        raise DatasetError(f"{place}: pixels hold {shown}, which is no category's. {advice}")
    wanted = np.array([table[value] for value in present.tolist()], dtype=np.int32)
    return wanted[inverse].reshape(values.shape)


def _decode(content: bytes, *, place: str) -> Image.Image:
    with pillow_warnings_ignored():  # of large pictures; the limit is checked below
        try:
            image = Image.open(io.BytesIO(content), formats=("PNG", "TIFF"))
            if image.width * image.height > MAX_PIXELS:
                raise DatasetError(
                    f"{place}: {image.width:,} × {image.height:,} pixels, expected at most {MAX_PIXELS:,}"
                )
            raw_mode = str(image.tile[0].args) if image.tile else ""
            image.load()
            image.info["raw mode"] = raw_mode
        except DatasetError:
            raise
        except Exception as error:  # decoders of damaged files raise anything
            reason = str(error) or type(error).__name__
            raise DatasetError(
                f"{place}: these labels cannot be decoded ({reason}); expected a whole PNG or TIFF file: "
                "copy or download it again"
            ) from error
    return image
