"""InstanceResult: things, each with its own mask; masks may overlap."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from ovrcoat.results.coco import instance_annotation
from ovrcoat.results.mask import PackedMask
from ovrcoat.results.result import Result, position_of
from ovrcoat.results.segment import Segment
from ovrcoat.structures import Size
from ovrcoat.vocabulary import Category

DRAWN_SCORE = 0.3  # weaker instances are in the result but not painted: most of the 100 are noise


@dataclass(frozen=True, slots=True, eq=False)
class InstanceResult(Result):
    """`segments` in order of falling score, ids 1..n; `masks[i]` belongs to `segments[i]`.

    `image_size` is said apart because a result may be empty and come without a photo.
    """

    image_size: Size
    segments: tuple[Segment, ...]
    masks: tuple[PackedMask, ...]
    categories: tuple[Category, ...]
    image: UInt8[np.ndarray, "height width 3"] | None = None
    name: str | None = None

    task: ClassVar[str] = "instance"

    @property
    def size(self) -> Size:
        """(height, width) of the image in pixels."""
        return self.image_size

    def mask(self, segment_id: int) -> Bool[np.ndarray, "height width"]:
        """The pixels of one instance.

        Raises:
            OvrcoatError: there is no such instance.
        """
        return self.masks[position_of(segment_id, self.segments)].unpack()

    def painted(self) -> Int32[np.ndarray, "height width"]:
        """Ids of the instances with a fair score, the better on top."""
        id_map = np.zeros(self.size, dtype=np.int32)
        for segment, mask in reversed(list(zip(self.segments, self.masks, strict=True))):
            if segment.score >= DRAWN_SCORE:
                id_map[mask.unpack()] = segment.id
        return id_map

    def to_coco(self, *, image_id: int = 1) -> list[dict[str, Any]]:
        """Entries of COCO's results format, masks as run lengths.

        Raises:
            MissingExtraError: pycocotools is not installed.
        """
        return [
            instance_annotation(segment, mask, image_id=image_id)
            for segment, mask in zip(self.segments, self.masks, strict=True)
        ]
