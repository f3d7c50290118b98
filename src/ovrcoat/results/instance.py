"""InstanceResult: things with one mask each; masks may overlap."""

from dataclasses import dataclass, replace
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
DUPLICATE_IOU = 0.7  # Ultralytics' default for non-maximum suppression


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
        drawn_score: minimum score of the instances that `segment_map` and `draw` show.
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
    drawn_score: float = DRAWN_SCORE

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
        """Return the ids of the instances in `filtered(self.drawn_score)`, the best one on top."""
        id_map = np.zeros(self.size, dtype=np.int32)
        for segment, mask in reversed(self._filtered(self.drawn_score, DUPLICATE_IOU)):
            id_map[mask.unpack()] = segment.id
        return id_map

    def filtered(
        self, score_threshold: float = DRAWN_SCORE, *, duplicate_iou: float = DUPLICATE_IOU
    ) -> "InstanceResult":
        """Return the result without weak instances and without duplicates.

        Without this step, as COCO's metric expects, one object may appear several times: with several masks,
        and under several categories. Ids do not change.

        Args:
            score_threshold: instances with lower scores are left out, 0 to 1.
            duplicate_iou: an instance is left out if its mask has at least this IoU with the mask of a better
                one, of any category; greater than 0. Above 1, nothing is.
        """
        kept = self._filtered(score_threshold, duplicate_iou)
        return replace(
            self,
            segments=tuple(segment for segment, _ in kept),
            masks=tuple(mask for _, mask in kept),
            drawn_score=score_threshold,
        )

    def shown(self) -> "InstanceResult":
        """Return the instances that `draw` shows: `filtered(self.drawn_score)`."""
        return self.filtered(self.drawn_score)

    def _filtered(self, score_threshold: float, duplicate_iou: float) -> list[tuple[Segment, PackedMask]]:
        kept: list[tuple[Segment, PackedMask]] = []
        for segment, mask in zip(self.segments, self.masks, strict=True):
            if segment.score >= score_threshold and not any(
                mask.is_duplicate_of(better, iou=duplicate_iou) for _, better in kept
            ):
                kept.append((segment, mask))
        return kept

    def to_coco(self, *, image_id: int = 1) -> list[dict[str, Any]]:
        """Return entries of COCO's results format with masks as RLE.

        Raises:
            MissingExtraError: pycocotools is not installed.
        """
        return [
            instance_annotation(segment, mask, image_id=image_id)
            for segment, mask in zip(self.segments, self.masks, strict=True)
        ]
