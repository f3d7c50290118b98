"""COCO's id picture: a segment's id as R + 256 G + 65536 B in 8-bit RGB; 0 is void. Light: needs no torch."""

import numpy as np
from jaxtyping import Int32
from PIL import Image

ID_BITS = np.uint32(0xFF_FFFF)  # what is above them in four bytes is alpha, or nothing


def id_map_to_image(id_map: Int32[np.ndarray, "height width"]) -> Image.Image:
    """The picture of ids 0..2²⁴ - 1."""
    return Image.fromarray(
        np.stack([id_map & 255, id_map >> 8 & 255, id_map >> 16], axis=-1).astype(np.uint8)
    )


def image_to_id_map(picture: Image.Image) -> Int32[np.ndarray, "height width"]:
    """The ids of an RGB or RGBA picture; alpha is left out."""
    # four bytes a pixel is how Pillow holds RGB anyway: read as numbers they need no arithmetic on channels
    four = picture.tobytes("raw", "RGBX" if picture.mode == "RGB" else "RGBA")
    ids = np.frombuffer(four, dtype="<u4") & ID_BITS
    return ids.astype(np.int32, copy=False).reshape(picture.height, picture.width)
