"""InstanceResult: things with one mask each; masks may overlap."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from ovrcoat.issues import Issue
from ovrcoat.results.background import BackgroundShare
from ovrcoat.results.coco import instance_annotation
from ovrcoat.results.mask import PackedMask
from ovrcoat.results.result import Result, position_of
from ovrcoat.results.segment import Segment
from ovrcoat.structures import Size
from ovrcoat.vocabulary import Category

DRAWN_SCORE = 0.3  # weaker instances are not drawn: most of the 100 are noise


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class InstanceResult(Result):
    """Instance segmentation of one image.

    Attributes:
        image_size: (height, width) in pixels.
        segments: the instances in descending order of score, with ids 1..n.
        masks: `masks[i]` is the mask of `segments[i]`.
        categories: the vocabulary's categories.
        image: the upright RGB image, if it was kept.
        name: file name of the image, if it has one.
        issues: what is suspicious about the vocabulary.
        background: always empty: instances leave most of an image out anyway.
        notes: what is unusual about the image file.
    """

    image_size: Size
    segments: tuple[Segment, ...]
    masks: tuple[PackedMask, ...]
    categories: tuple[Category, ...]
    image: UInt8[np.ndarray, "height width 3"] | None = None
    name: str | None = None
    issues: tuple[Issue, ...] = ()
    background: tuple[BackgroundShare, ...] = ()
    notes: tuple[str, ...] = ()

    task: ClassVar[str] = "instance"

    @property
    def size(self) -> Size:
        """(height, width) of the image in pixels."""
        return self.image_size

    def mask(self, segment_id: int) -> Bool[np.ndarray, "height width"]:
        """Return the pixels of one instance.

        Raises:
            OvrcoatError: there is no such instance.
        """
        return self.masks[position_of(segment_id, self.segments)].unpack()

    def segment_map(self) -> Int32[np.ndarray, "height width"]:
        """Return the ids of the instances with a score of at least `DRAWN_SCORE`, the best on top."""
        id_map = np.zeros(self.size, dtype=np.int32)
        for segment, mask in reversed(list(zip(self.segments, self.masks, strict=True))):
            if segment.score >= DRAWN_SCORE:
                id_map[mask.unpack()] = segment.id
        return id_map

    def to_coco(self, *, image_id: int = 1) -> list[dict[str, Any]]:
        """Return entries of COCO's results format with masks as RLE.

        Raises:
            MissingExtraError: pycocotools is not installed.
        """
        return [
            instance_annotation(segment, mask, image_id=image_id)
            for segment, mask in zip(self.segments, self.masks, strict=True)
        ]
