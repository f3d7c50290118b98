"""Explanation: why each mask of the decoder is a segment of the result, or why it was rejected."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32, UInt8
from PIL import Image
from torch import Tensor

from ovrcoat.errors import ConfigError
from ovrcoat.postprocessing.duplicates import mask_nms
from ovrcoat.postprocessing.explained_masks import ExplainedMask, Region, RegionMap
from ovrcoat.postprocessing.mask_status import MaskStatus
from ovrcoat.postprocessing.specks import remove_specks
from ovrcoat.postprocessing.upsampling import ImageSizes, binary_mask, logits_at
from ovrcoat.results import PanopticResult
from ovrcoat.results.colors import Rgb
from ovrcoat.results.drawing import check_font_size
from ovrcoat.results.explanation_drawing import RejectedMask, draw_explanation
from ovrcoat.results.fonts import shown_name
from ovrcoat.results.notebook import to_html
from ovrcoat.segmentation.mask_reasons import ExplanationSettings, reason, reason_at, shown_at
from ovrcoat.structures import Size

# Legend and color of the rejected masks in a drawing; duplicates and empty masks are not drawn.
REASONS: dict[MaskStatus, tuple[str, Rgb]] = {
    MaskStatus.VOID: ("rejected as void", (230, 159, 0)),
    MaskStatus.BELOW_THRESHOLD: ("rejected for its score", (240, 228, 66)),
    MaskStatus.OVERLAP: ("rejected for overlaps", (86, 180, 233)),
    MaskStatus.BACKGROUND: ("background class", (204, 121, 167)),
}
MIN_DRAWN_SHARE = 0.002  # of the image; smaller rejected masks, and smaller parts of them, are not drawn
MAX_SHOWN_SHARE = 0.5  # of a rejected mask's pixels may have its category in the result, or it is not drawn
MAX_DRAWN_SIDE = 2048  # pixels of the picture; larger images are reduced, because outlining takes long
DRAWN_IOU = 0.5  # of rejected masks that overlap more strongly, the best is drawn


@dataclass(frozen=True, slots=True)
class MaskAtPixel:
    """A mask that includes a pixel.

    Attributes:
        mask: the mask.
        probability: its mask probability at the pixel, 0.5..1.
        reason: why it is or is not shown there, in plain words.
    """

    mask: ExplainedMask
    probability: float
    reason: str


@dataclass(frozen=True, slots=True)
class PixelExplanation:
    """What the result shows at a pixel, and why.

    Attributes:
        x: column, from the left.
        y: row, from the top.
        region: the segment, or why the pixel is void.
        summary: the same in plain words.
        masks: the masks that include the pixel, by score × mask probability, best first.
    """

    x: int
    y: int
    region: Region
    summary: str
    masks: tuple[MaskAtPixel, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        return {
            "x": self.x,
            "y": self.y,
            "region": self.region.to_dict(),
            "summary": self.summary,
            "masks": [
                {
                    **one.mask.to_dict(),
                    "probability": round(one.probability, 4),
                    "reason": one.reason,
                }
                for one in self.masks
            ],
        }


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Explanation:
    """A panoptic result, and the reason for the status of every mask of the decoder.

    It keeps the mask logits of the encoded image, which it shares with it, for `at` and `draw`.

    Attributes:
        result: the panoptic result.
        masks: one entry per query of the decoder, in order.
        regions: what the result shows at each pixel, and why.
        mask_logits: at stride 4, on the network's device.
        sizes: sizes of the padded input, of the image inside it, and of the image.
        settings: the settings that decided which masks were rejected.
    """

    result: PanopticResult
    masks: tuple[ExplainedMask, ...]
    regions: RegionMap
    mask_logits: Float[Tensor, "query height width"]
    sizes: ImageSizes
    settings: ExplanationSettings

    def __repr__(self) -> str:
        """Return one line: the number of masks by status."""
        return f"<Explanation of {self.result!r}: {self._counts()}>"

    def _repr_html_(self) -> str:
        """Return what a notebook displays: the drawing and a table of the segments."""
        return to_html(repr(self)[1:-1], self.draw(), self.result.segments, note=None)

    @property
    def rejected(self) -> tuple[ExplainedMask, ...]:
        """The masks that are not part of a segment, by score, highest first."""
        rejected = [mask for mask in self.masks if mask.status is not MaskStatus.SEGMENT]
        return tuple(sorted(rejected, key=lambda mask: -mask.score))

    def reason(self, mask: ExplainedMask) -> str:
        """Return why a mask is a segment or was rejected, in plain words."""
        return reason(mask, self.settings)

    def at(self, x: int, y: int) -> PixelExplanation:
        """Explain what the result shows at one pixel.

        Args:
            x: column, from the left, starting at 0.
            y: row, from the top, starting at 0.

        Raises:
            ConfigError: the pixel is not in the image.
        """
        height, width = self.sizes.output
        is_valid = all(isinstance(value, Integral) and not isinstance(value, bool) for value in (x, y))
        if not (is_valid and 0 <= x < width and 0 <= y < height):
            raise ConfigError(
                f"the pixel ({x!r}, {y!r}) is not in the image; expected whole numbers: x from 0 to "
                f"{width - 1}, y from 0 to {height - 1}"
            )
        region = self.regions.regions[self.regions.indices[y, x]]
        probabilities = logits_at(self.mask_logits, self.sizes, x=int(x), y=int(y)).sigmoid().tolist()
        masks = [
            MaskAtPixel(mask, probability, reason_at(mask, region, self.settings))
            for mask, probability in zip(self.masks, probabilities, strict=True)
            if probability >= 0.5
        ]
        masks.sort(key=lambda one: -one.mask.score * one.probability)
        summary = shown_at(region, has_masks=bool(masks))
        return PixelExplanation(int(x), int(y), region, summary, tuple(masks))

    def draw(self, *, limit: int = 12, font_size: int | None = None) -> Image.Image:
        """Draw what COAT rescued and what was rejected.

        Rescued segments are highlighted, other segments are pale, and rejected masks are dashed outlines in
        the color of their reason. These are left out: duplicates; tiny masks; masks whose pixels mostly have
        their category in the result anyway; void masks of a background class. Of rejected masks that overlap
        strongly, only the best is drawn. The picture of a larger image has a long side of 2048 pixels.

        Args:
            limit: number of rejected masks to draw, by score.
            font_size: height of the font in pixels; None chooses it by the size of the image.

        Raises:
            ConfigError: an option is not valid.
        """
        if isinstance(limit, bool) or not isinstance(limit, Integral) or limit < 0:
            raise ConfigError(f"limit={limit!r} is not valid; expected a whole number, 0 or more")
        check_font_size(font_size)
        result, (height, width) = self.result, self.sizes.output
        scale = min(1.0, MAX_DRAWN_SIDE / max(height, width))
        size = max(1, round(scale * height)), max(1, round(scale * width))
        segments = sorted(result.segments, key=lambda segment: -segment.area)
        rescued = {
            segment.id: f"{shown_name((segment.category,), id=segment.category_id)}: "
            f"{segment.objectness_before:.2f}, {segment.objectness:.2f}"
            for segment in segments
            if segment.rescued
        }
        return draw_explanation(
            _resized(result.image, size),
            _nearest(result.id_map, size),
            segments=segments,
            categories=result.categories,
            rescued=rescued,
            rejected=self._masks_to_draw(limit, replace(self.sizes, output=size)),
            font_size=font_size,
        )

    def _masks_to_draw(self, limit: int, sizes: ImageSizes) -> Iterator[RejectedMask]:
        """Yield the rejected masks that `draw` shows, the largest first; each exists only until the next."""
        min_area = MIN_DRAWN_SHARE * self.result.id_map.size
        masks = [
            mask
            for mask in self.rejected
            if mask.status in REASONS
            and mask.area >= min_area
            and _shown_share(mask) < MAX_SHOWN_SHARE
            and not (mask.status is MaskStatus.VOID and mask.ensemble.is_background)
        ]
        if not masks:
            return
        logits = self.mask_logits[[mask.query for mask in masks]]
        scores = torch.tensor([mask.score for mask in masks], device=logits.device)
        duplicate_of = mask_nms(logits, scores, duplicate_iou=DRAWN_IOU)
        drawn = [mask for mask, better in zip(masks, duplicate_of, strict=True) if better is None][:limit]
        for mask in sorted(drawn, key=lambda mask: -mask.area):
            legend, color = REASONS[mask.status]
            pixels = binary_mask(self.mask_logits[mask.query], sizes).astype(np.int32)
            yield RejectedMask(
                remove_specks(pixels, min_share=MIN_DRAWN_SHARE) != 0,
                label=f"{shown_name((mask.category or '',), id=mask.query)} {mask.score:.2f}",
                reason=legend,
                color=color,
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold; docs/python.md describes it."""
        result, (height, width) = self.result, self.sizes.output
        return {
            "name": result.name,
            "width": width,
            "height": height,
            "settings": self.settings.to_dict(),
            "segments": [segment.to_coco() | {"rescued": segment.rescued} for segment in result.segments],
            "background": [share.to_dict() for share in result.background],
            "counts": {str(status): sum(m.status is status for m in self.masks) for status in MaskStatus},
            "masks": [mask.to_dict() | {"reason": self.reason(mask)} for mask in self.masks],
        }

    def summary(self, *, limit: int = 10) -> str:
        """Return how many masks have which status, and the best rejected masks, as text.

        Args:
            limit: number of rejected masks to list, by score.
        """
        rejected = self.rejected
        lines = [f"{len(self.masks)} masks: {self._counts()}"]
        if rejected[:limit]:
            lines.append(f"best rejected masks ({min(limit, len(rejected))} of {len(rejected)}):")
        lines += [
            f"  query {mask.query}: {mask.category} {mask.score:.2f}, {self.reason(mask)}"
            for mask in rejected[:limit]
        ]
        return "\n".join(lines)

    def _counts(self) -> str:
        counts = Counter(mask.status for mask in self.masks)
        return ", ".join(f"{counts[status]} {status}" for status in MaskStatus if counts[status])


def _shown_share(mask: ExplainedMask) -> float:
    """Return the share of a mask's pixels that have its category in the result."""
    return math.fsum(
        share
        for region, share in mask.covered_by
        if region.kind == "segment" and region.category == mask.category
    )


def _resized(image: UInt8[np.ndarray, "height width 3"] | None, size: Size) -> UInt8[np.ndarray, "_ _ 3"]:
    """Return the image at `size`; white if no image was kept."""
    if image is None:
        return np.full((*size, 3), 255, np.uint8)
    return image if image.shape[:2] == size else np.array(Image.fromarray(image).resize(size[::-1]))


def _nearest(id_map: Int32[np.ndarray, "height width"], size: Size) -> Int32[np.ndarray, "_ _"]:
    """Return the map at `size`, by nearest pixels."""
    rows, columns = (np.arange(new) * old // new for old, new in zip(id_map.shape, size, strict=True))
    return id_map[rows[:, None], columns]
