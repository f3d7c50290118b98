"""What panoptic, semantic and instance results share: an image, its segments, and ways to export them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from PIL import Image

from ovrcoat.errors import OvrcoatError
from ovrcoat.issues import Issue
from ovrcoat.results.background import BackgroundShare, background_note
from ovrcoat.results.drawing import OPACITY, DrawOptions, draw
from ovrcoat.results.notebook import to_html
from ovrcoat.results.segment import Segment
from ovrcoat.results.table import segment_table
from ovrcoat.results.writers import RunWriter
from ovrcoat.structures import Size
from ovrcoat.vocabulary import Category

MAX_IN_REPR = 5  # segments


class Result(ABC):
    """Base class of the three kinds of results.

    Attributes:
        task: "panoptic", "semantic" or "instance".
        segments: the segments of the image.
        categories: the vocabulary's categories.
        image: the upright RGB image, if it was kept.
        name: file name of the image, if it has one.
        issues: what is suspicious about the vocabulary.
        background: background classes that won pixels, which are void; empty for instances.
        notes: what is unusual about the image file.
    """

    __slots__ = ()

    task: ClassVar[str]
    segments: tuple[Segment, ...]
    categories: tuple[Category, ...]
    image: UInt8[np.ndarray, "height width 3"] | None
    name: str | None
    issues: tuple[Issue, ...]
    background: tuple[BackgroundShare, ...]
    notes: tuple[str, ...]

    @property
    @abstractmethod
    def size(self) -> Size:
        """(height, width) of the image in pixels."""

    @abstractmethod
    def mask(self, segment_id: int) -> Bool[np.ndarray, "height width"]:
        """Return the pixels of one segment.

        Raises:
            OvrcoatError: there is no such segment.
        """

    @abstractmethod
    def segment_map(self) -> Int32[np.ndarray, "height width"]:
        """Return one segment id per pixel, 0 where there is none: the map that `draw` colors."""

    @abstractmethod
    def to_coco(self, *, image_id: int = 1) -> Any:
        """Return the annotations of this image in COCO's format."""

    def draw(
        self,
        *,
        opacity: float = OPACITY,
        outlines: bool = True,
        labels: bool = True,
        legend: bool = True,
        font_size: int | None = None,
        show_instances: bool = True,
    ) -> Image.Image:
        """Draw the segments over the image.

        Args:
            opacity: of the fills, from 0 (only outlines) to 1 (the image is hidden).
            outlines: draw the edge of each segment in full color.
            labels: write the category's name into each large segment.
            legend: list the categories below the image.
            font_size: height of the font in pixels; None chooses it by the size of the image.
            show_instances: vary the color between segments of one category.

        Raises:
            ConfigError: an option is not valid.
        """
        options = DrawOptions(
            opacity=opacity,
            outlines=outlines,
            labels=labels,
            legend=legend,
            font_size=font_size,
            show_instances=show_instances,
        )
        image = self.image
        if image is None:
            image = np.full((*self.size, 3), 255, np.uint8)  # no image was kept: draw on white
        return draw(
            image, self.segment_map(), segments=self.segments, categories=self.categories, options=options
        )

    def save(
        self,
        folder: str | Path,
        *,
        format: str | Sequence[str] | None = None,
        source: str | Path | None = None,
        overwrite: bool = False,
    ) -> tuple[Path, ...]:
        """Write this image's files, add it to the folder's JSON document, and return all paths.

        Args:
            folder: created if it does not exist. Results of one vocabulary may share a folder.
            format: one or several of the formats in docs/formats.md, such as "yolo" or
                "coco-panoptic,labelme". None: id PNG, overlay and document in COCO's format.
            source: path of the image file, for formats that refer to it or copy it.
            overwrite: also replace files that this package did not write, and the document of another
                vocabulary.

        Raises:
            ConfigError: there is no such format, or it cannot hold results of this task.
            OutputError: the folder cannot be written, or a file would be lost.
            MissingExtraError: the format needs an optional dependency that is not installed.
        """
        with RunWriter(
            folder,
            task=self.task,
            categories=self.categories,
            formats=format,
            overwrite=overwrite,
            resume="always",
        ) as writer:
            written = writer.add(self, source=None if source is None else Path(source))
            return (*written, writer.document_path)

    def __repr__(self) -> str:
        """Return one line: the image, its size, and the first segments."""
        shown = [f"{segment.category} {segment.score:.2f}" for segment in self.segments[:MAX_IN_REPR]]
        more = ["..."] if len(self.segments) > MAX_IN_REPR else []
        height, width = self.size
        name = f"{self.name}, " if self.name else ""
        count = f"{len(self.segments)} segment" + ("" if len(self.segments) == 1 else "s")
        listed = f": {', '.join(shown + more)}" if shown else ""
        return f"<{type(self).__name__} {name}{width} × {height} pixels, {count}{listed}>"

    def _repr_html_(self) -> str:
        """Return what a notebook displays: the drawing and a table."""
        note = background_note(self.background, has_segments=bool(self.segments))
        return to_html(repr(self)[1:-1], self.draw(), self.segments, note=note)

    def summary(self) -> str:
        """Return a table of the segments as text."""
        return segment_table(
            self.segments, self.categories, name=self.name, size=self.size, background=self.background
        )

    def shown(self) -> "Result":
        """Return the result with the segments that `draw` shows: all, but for instances see `filtered`."""
        return self

    def to_supervision(self) -> Any:
        """Return `supervision.Detections` whose data holds class_name, isthing and segment_id.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        from ovrcoat.results.adapters import to_supervision

        return to_supervision(self)

    def to_fiftyone(self) -> dict[str, Any]:
        """Return FiftyOne labels: `fiftyone.Sample(filepath="photo.jpg", **result.to_fiftyone())`.

        Returns:
            "things": `Detections` with masks; each detection has the attribute segment_id.
            "stuff": a `Segmentation`, except for instance results. Values of its mask are positions in
                `categories` plus 1; 0 is void or a thing. Its attribute segments is a list of dicts with
                segment_id, value, label and confidence.

        Raises:
            MissingExtraError: fiftyone is not installed.
        """
        from ovrcoat.results.adapters import to_fiftyone

        return to_fiftyone(self, self.categories)

    def to_hf(self) -> dict[str, Any]:
        """Return a dict like that of transformers' `post_process_panoptic_segmentation`.

        Returns:
            "segmentation": int32 tensor (height, width) of segment ids, 0 is void; for instance results,
                (segments, height, width) with 1 for the pixels of each segment, as with
                `return_binary_maps=True`.
            "segments_info": a dict per segment with id, label_id (the category's id), was_fused (whether it
                is stuff) and score.
        """
        from ovrcoat.results.adapters import to_hf

        return to_hf(self)


def position_of(segment_id: int, segments: Sequence[Segment]) -> int:
    """Return the index of a segment in `segments`.

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
