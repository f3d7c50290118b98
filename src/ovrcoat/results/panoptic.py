"""PanopticResult: every pixel belongs to one segment or to void."""

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
class PanopticResult(Result):
    """Panoptic segmentation of one image.

    Attributes:
        id_map: id of the segment of each pixel, at the size of the image; ids are 1..n, and 0 is void.
        segments: the segments, in order of their ids.
        categories: the vocabulary's categories.
        image: the upright RGB image, if it was kept.
        name: file name of the image, if it has one.
        issues: what is suspicious about the vocabulary.
        background: background classes that won pixels, which are void.
        notes: what is unusual about the image file.
    """

    id_map: Int32[np.ndarray, "height width"]
    segments: tuple[Segment, ...]
    categories: tuple[Category, ...]
    image: UInt8[np.ndarray, "height width 3"] | None = None
    name: str | None = None
    issues: tuple[Issue, ...] = ()
    background: tuple[BackgroundShare, ...] = ()
    notes: tuple[str, ...] = ()

    task: ClassVar[str] = "panoptic"

    @property
    def size(self) -> Size:
        """(height, width) of the image in pixels."""
        height, width = self.id_map.shape
        return height, width

    def mask(self, segment_id: int) -> Bool[np.ndarray, "height width"]:
        """Return the pixels of one segment.

        Raises:
            OvrcoatError: there is no such segment.
        """
        position_of(segment_id, self.segments)
        return self.id_map == segment_id

    def segment_map(self) -> Int32[np.ndarray, "height width"]:
        """Return the id map."""
        return self.id_map

    def to_coco(self, *, image_id: int = 1) -> dict[str, Any]:
        """Return the annotation in COCO's panoptic format. Its PNG holds `id_map`: see `Result.save`."""
        return panoptic_annotation(
            self.segments, name=self.name, image_id=image_id, background=self.background
        )
