"""SemanticResult: a category per pixel."""

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
class SemanticResult(Result):
    """`category_map` holds 0 for void, else the category's place in `categories` + 1.

    `segments` has one entry per category that is present; its id is the category's value in the map.
    """

    category_map: Int32[np.ndarray, "height width"]
    segments: tuple[Segment, ...]
    categories: tuple[Category, ...]
    image: UInt8[np.ndarray, "height width 3"] | None = None
    name: str | None = None

    task: ClassVar[str] = "semantic"

    @property
    def size(self) -> Size:
        """(height, width) of the image in pixels."""
        height, width = self.category_map.shape
        return height, width

    def mask(self, segment_id: int) -> Bool[np.ndarray, "height width"]:
        """The pixels of one category.

        Raises:
            OvrcoatError: the category is not present.
        """
        position_of(segment_id, self.segments)
        return self.category_map == segment_id

    def painted(self) -> Int32[np.ndarray, "height width"]:
        """The category map."""
        return self.category_map

    def to_coco(self, *, image_id: int = 1) -> dict[str, Any]:
        """Annotation of COCO's panoptic format: each category is one segment."""
        return panoptic_annotation(self.segments, name=self.name, image_id=image_id)
