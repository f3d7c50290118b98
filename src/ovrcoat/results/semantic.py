"""SemanticResult: one category per pixel."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from ovrcoat.issues import Issue
from ovrcoat.results.background import BackgroundShare
from ovrcoat.results.coco import panoptic_annotation
from ovrcoat.results.result import Result, position_of
from ovrcoat.results.segment import Segment
from ovrcoat.structures import Size
from ovrcoat.vocabulary import Category


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SemanticResult(Result):
    """Semantic segmentation of one image.

    Attributes:
        category_map: 0 for void, else the index in `categories` plus 1, per pixel, at the size of the image.
        segments: one per category that is present; its id is its value in the map.
        categories: the vocabulary's categories.
        image: the upright RGB image, if it was kept.
        name: file name of the image, if it has one.
        issues: what is suspicious about the vocabulary.
        background: background classes that won pixels, which are void.
        notes: what is unusual about the image file.
    """

    category_map: Int32[np.ndarray, "height width"]
    segments: tuple[Segment, ...]
    categories: tuple[Category, ...]
    image: UInt8[np.ndarray, "height width 3"] | None = None
    name: str | None = None
    issues: tuple[Issue, ...] = ()
    background: tuple[BackgroundShare, ...] = ()
    notes: tuple[str, ...] = ()

    task: ClassVar[str] = "semantic"

    @property
    def size(self) -> Size:
        """(height, width) of the image in pixels."""
        height, width = self.category_map.shape
        return height, width

    def mask(self, segment_id: int) -> Bool[np.ndarray, "height width"]:
        """Return the pixels of one category.

        Raises:
            OvrcoatError: the category is not present.
        """
        position_of(segment_id, self.segments)
        return self.category_map == segment_id

    def segment_map(self) -> Int32[np.ndarray, "height width"]:
        """Return the category map."""
        return self.category_map

    def to_coco(self, *, image_id: int = 1) -> dict[str, Any]:
        """Return the annotation in COCO's panoptic format: each category is one segment."""
        return panoptic_annotation(
            self.segments, name=self.name, image_id=image_id, background=self.background
        )
