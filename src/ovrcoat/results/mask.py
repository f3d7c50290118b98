"""PackedMask: a mask stored as bits inside its bbox, so that a hundred masks of a large image stay small."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from ovrcoat.results.segment import BBox
from ovrcoat.structures import Size


@dataclass(frozen=True, slots=True, eq=False)
class PackedMask:
    """A mask of a photo of `size`; `bits` hold the pixels of `bbox` row by row (`np.packbits`)."""

    size: Size
    bbox: BBox
    area: int  # pixels
    bits: UInt8[np.ndarray, " byte"]

    @classmethod
    def pack(cls, mask: Bool[np.ndarray, "height width"]) -> "PackedMask":
        """Pack a mask of the image's size; an empty one has the bbox (0, 0, 0, 0)."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows) == 0:
            return cls(size=mask.shape, bbox=(0, 0, 0, 0), area=0, bits=np.empty(0, np.uint8))
        top, left = int(rows[0]), int(columns[0])
        height, width = int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
        crop = mask[top : top + height, left : left + width]
        return cls(
            size=mask.shape, bbox=(left, top, width, height), area=int(crop.sum()), bits=np.packbits(crop)
        )

    def unpack(self) -> Bool[np.ndarray, "height width"]:
        """Return the mask at the size of the image."""
        mask = np.zeros(self.size, dtype=bool)
        left, top, width, height = self.bbox
        crop = np.unpackbits(self.bits, count=width * height).reshape(height, width)
        mask[top : top + height, left : left + width] = crop
        return mask

    def is_duplicate_of(self, other: "PackedMask", *, iou: float) -> bool:
        """Return whether the IoU with a mask of the same image is at least `iou` (greater than 0)."""
        if self is other:
            return self.area > 0
        smaller, larger = sorted((self.area, other.area))
        if smaller < iou * larger or smaller == 0:  # the IoU is at most the ratio of the areas
            return False
        intersection = int((self.unpack() & other.unpack()).sum())
        return intersection >= iou * (smaller + larger - intersection)
