"""Explanation: why each mask of the decoder is a segment of the result, or why it was rejected."""

from collections import Counter
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ovrcoat.errors import ConfigError
from ovrcoat.postprocessing.explained_masks import ExplainedMask, Region, RegionMap
from ovrcoat.postprocessing.mask_status import MaskStatus
from ovrcoat.postprocessing.upsampling import ImageSizes, logits_at
from ovrcoat.results import PanopticResult
from ovrcoat.segmentation.mask_reasons import ExplanationSettings, reason, reason_at, shown_at


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
