"""PanopticResult: every pixel of an image belongs to one segment or to void."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from ovrcoat.results.coco import panoptic_annotation
from ovrcoat.results.result import Result, position_of
from ovrcoat.results.segment import Segment
from ovrcoat.structures import Size
from ovrcoat.vocabulary import Category


@dataclass(frozen=True, slots=True, eq=False)
class PanopticResult(Result):
    """`id_map` holds a segment's id per pixel at the image's own size, 0 is void; ids are 1..n."""

    id_map: Int32[np.ndarray, "height width"]
    segments: tuple[Segment, ...]
    categories: tuple[Category, ...]
    image: UInt8[np.ndarray, "height width 3"] | None = None
    name: str | None = None

    task: ClassVar[str] = "panoptic"

    @property
    def size(self) -> Size:
        """(height, width) of the image in pixels."""
        height, width = self.id_map.shape
        return height, width

    def mask(self, segment_id: int) -> Bool[np.ndarray, "height width"]:
        """The pixels of one segment.

        Raises:
            OvrcoatError: there is no such segment.
        """
        position_of(segment_id, self.segments)
        return self.id_map == segment_id

    def painted(self) -> Int32[np.ndarray, "height width"]:
        """The id map."""
        return self.id_map

    def to_coco(self, *, image_id: int = 1) -> dict[str, Any]:
        """Annotation of COCO's panoptic format; its PNG is `ovrcoat.results.coco.id_image(result.id_map)`."""
        return panoptic_annotation(self.segments, name=self.name, image_id=image_id)
