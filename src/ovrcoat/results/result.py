"""What panoptic, semantic and instance results share: an image, its segments, and ways out of Python."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from PIL import Image

from ovrcoat.errors import OvrcoatError
from ovrcoat.results.drawing import draw
from ovrcoat.results.segment import Segment
from ovrcoat.results.table import segment_table
from ovrcoat.structures import Size
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.vocabulary import Category


class Result(ABC):
    """Base of the three results. `image` is the RGB image (EXIF rotation applied), `name` its file name."""

    __slots__ = ()

    task: ClassVar[str]
    segments: tuple[Segment, ...]
    categories: tuple[Category, ...]
    image: UInt8[np.ndarray, "height width 3"] | None
    name: str | None

    @property
    @abstractmethod
    def size(self) -> Size:
        """(height, width) of the image in pixels."""

    @abstractmethod
    def mask(self, segment_id: int) -> Bool[np.ndarray, "height width"]:
        """The pixels of one segment.

        Raises:
            OvrcoatError: there is no such segment.
        """

    @abstractmethod
    def painted(self) -> Int32[np.ndarray, "height width"]:
        """One segment id per pixel, 0 where there is none: what `draw` colours."""

    @abstractmethod
    def to_coco(self, *, image_id: int = 1) -> Any:
        """What COCO's format holds of this photo."""

    def draw(self) -> Image.Image:
        """The image with its segments in colour, their names and a legend."""
        image = self.image
        if image is None:
            image = np.full((*self.size, 3), 255, np.uint8)  # no image was kept: colours on white
        return draw(image, self.painted(), segments=self.segments, categories=self.categories)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> tuple[Path, ...]:
        """Write this image's files and enter it in the folder's JSON document; return the paths.

        Files that this package wrote are replaced. Several results may share a folder if they share the
        vocabulary. `overwrite` lifts both conditions.

        Raises:
            OutputError: the folder cannot be written, or holds something that would be lost.
        """
        from ovrcoat.results.writers import RunWriter

        with RunWriter(
            folder, task=self.task, categories=self.categories, overwrite=overwrite, resume=True
        ) as writer:
            return (*writer.add(self), writer.document_path)

    def summary(self) -> str:
        """A table of the segments as text."""
        return segment_table(self.segments, self.categories, name=self.name, size=self.size)

    def to_supervision(self) -> Any:
        """As `supervision.Detections`; data holds class_name, isthing and segment_id.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        supervision = import_optional("supervision", extra="supervision")
        if not self.segments:
            return supervision.Detections.empty()
        left_top_size = np.array([segment.bbox for segment in self.segments], dtype=np.float32)
        corners = np.hstack([left_top_size[:, :2], left_top_size[:, :2] + left_top_size[:, 2:]])
        return supervision.Detections(
            xyxy=corners,
            mask=np.stack([self.mask(segment.id) for segment in self.segments]),
            confidence=np.array([segment.score for segment in self.segments], dtype=np.float32),
            class_id=np.array([segment.category_id for segment in self.segments]),
            data={
                "class_name": np.array([segment.category for segment in self.segments]),
                "isthing": np.array([segment.is_thing for segment in self.segments]),
                "segment_id": np.array([segment.id for segment in self.segments]),
            },
        )


def position_of(segment_id: int, segments: Sequence[Segment]) -> int:
    """Where the segment stands among `segments`.

    Raises:
        OvrcoatError: there is no such segment.
    """
    ids = [segment.id for segment in segments]
    if segment_id not in ids:
        known = ", ".join(map(str, ids)) if ids else "none: this result is empty"
        raise OvrcoatError(
            f"there is no segment {segment_id}; the ids of this result are {known} (0 is void)"
        )
    return ids.index(segment_id)
