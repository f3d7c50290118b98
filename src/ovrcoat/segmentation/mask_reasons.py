"""Say in plain words what happened to a mask, and what the result shows at a pixel."""

from dataclasses import dataclass
from typing import Any, Literal

from ovrcoat.postprocessing.explained_masks import ExplainedMask, Region
from ovrcoat.postprocessing.mask_status import MaskStatus

MAX_WINNERS = 3  # that a sentence names


@dataclass(frozen=True, slots=True)
class ExplanationSettings:
    """The settings that decided which masks were rejected; see `SegmentationPrompt`.

    Attributes:
        trust: COAT's γ, 0..1, or "adaptive".
        object_mask_threshold: minimum score of a mask, 0..1.
        overlap_threshold: minimum ratio of a mask's argmax area to its own area.
        duplicate_iou: masks that overlap more strongly are duplicates, 0..1; None: duplicates are kept.
        weight_by_stability: whether scores were multiplied by the stability of the masks where they compete.
    """

    trust: float | Literal["adaptive"]
    object_mask_threshold: float
    overlap_threshold: float
    duplicate_iou: float | None
    weight_by_stability: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        return {
            "trust": self.trust,
            "object_mask_threshold": self.object_mask_threshold,
            "overlap_threshold": self.overlap_threshold,
            "duplicate_iou": self.duplicate_iou,
            "weight_by_stability": self.weight_by_stability,
        }


def reason(mask: ExplainedMask, settings: ExplanationSettings) -> str:
    """Return a sentence without subject that says why a mask is a segment, or why it was rejected."""
    if mask.status is not MaskStatus.SEGMENT:
        return _rejection(mask, settings)
    role = "part of segment" if mask.merged_into is not None else "segment"
    rescue = f"; rescued: {_coat(mask)}" if mask.rescued else ""
    return f"is {role} {mask.segment_id} ({mask.category}){rescue}"


def reason_at(mask: ExplainedMask, region: Region, settings: ExplanationSettings) -> str:
    """Return a sentence without subject that says why a mask that includes a pixel is not shown there.

    Args:
        mask: the mask.
        region: the region of the pixel.
        settings: the settings of the explanation.
    """
    if mask.status is not MaskStatus.SEGMENT:
        return reason(mask, settings)
    if region.kind == "segment" and region.segment_id == mask.segment_id:
        return f"is shown here: it {reason(mask, settings)}"
    if region.kind == "speck" and region.segment_id == mask.segment_id:
        return f"is segment {mask.segment_id} ({mask.category}), but this part was removed as a speck"
    winner = {
        "segment": f"segment {region.segment_id} ({region.category}) has",
        "speck": f"segment {region.segment_id} ({region.category}) has",
        "background": f"the background class {region.category} has",
        "rejected": f"query {region.query} ({region.category}), which was rejected afterwards, has",
        "void": "a mask that does not include this pixel has",
    }[region.kind]
    return (
        f"is segment {mask.segment_id} ({mask.category}), but {winner} a larger product of score"
        f"{', stability' if settings.weight_by_stability else ''} and mask probability at this pixel"
    )


def shown_at(region: Region, *, has_masks: bool) -> str:
    """Return a sentence that says what the result shows at a pixel, and why.

    Args:
        region: the region of the pixel.
        has_masks: whether at least one mask includes the pixel.
    """
    name = region.category
    if region.kind == "segment":
        return f"segment {region.segment_id} ({name})"
    if region.kind == "background":
        return f"void: the background class {name} won this pixel; to see it, add it to the vocabulary"
    if region.kind == "rejected":
        return f"void: query {region.query} ({name}) won this pixel, and was rejected for overlaps"
    if region.kind == "speck":
        return f"void: this small disconnected part of segment {region.segment_id} ({name}) was removed"
    if not has_masks:
        return "void: no mask of the model includes this pixel"
    return "void: the masks that include this pixel were rejected, or lost it to one that does not include it"


def _rejection(mask: ExplainedMask, settings: ExplanationSettings) -> str:
    if mask.status is MaskStatus.VOID:
        coat = f"; {_coat(mask)}" if mask.objectness != mask.objectness_before else ""
        void, score = _distinct(mask.void, mask.score)
        return (
            f"rejected as void: the probability of void, {void}, is higher than that of "
            f"{_named(mask)}, {score}{coat}"
        )
    if mask.status is MaskStatus.BELOW_THRESHOLD:
        return (
            f"rejected for its score: that of {_named(mask)}, {mask.score:.2f}, does not exceed the object "
            f"mask threshold, {settings.object_mask_threshold:g}"
        )
    if mask.status is MaskStatus.DUPLICATE:
        return _duplicate(mask, settings)
    if mask.status is MaskStatus.BACKGROUND:
        return f"void, because its best category, {mask.category} ({mask.score:.2f}), is a background class"
    if mask.status is MaskStatus.EMPTY:
        return "rejected because it is empty: no pixel has a mask probability of 0.5 or more"
    ratio, threshold = _distinct(100 * (mask.argmax_ratio or 0.0), 100 * settings.overlap_threshold, digits=0)
    return (
        f"rejected for overlaps: it won {ratio} % of its pixels, less than the overlap threshold of "
        f"{threshold} %{_winners(mask)}"
    )


def _duplicate(mask: ExplainedMask, settings: ExplanationSettings) -> str:
    """Say which mask it duplicates, and what happened to that one: it need not be visible."""
    original = mask.original
    assert original is not None
    outcome = {
        MaskStatus.SEGMENT: f"is segment {original.segment_id} ({original.category})",
        MaskStatus.BACKGROUND: f"belongs to the background class {original.category}",
        MaskStatus.EMPTY: "was rejected in turn, because it is empty",
        MaskStatus.OVERLAP: "was rejected in turn, for overlaps",
    }[original.status]
    higher, lower = _distinct(original.score, mask.score)
    compared = f"score, {higher} against {lower}"
    if settings.weight_by_stability:
        compared = "product of score and stability"
    return (
        f"rejected as a duplicate of query {original.query}, whose mask overlaps it with an IoU of at least "
        f"{settings.duplicate_iou:g} and has a higher {compared}; query {original.query} {outcome}"
    )


def _distinct(one: float, other: float, *, digits: int = 2) -> tuple[str, str]:
    """Return two numbers with as many decimals as they need to look different, at most four more."""
    for decimals in range(digits, digits + 4):
        texts = f"{one:.{decimals}f}", f"{other:.{decimals}f}"
        if texts[0] != texts[1]:
            break
    return texts


def _named(mask: ExplainedMask) -> str:
    background = "the background class " if mask.ensemble.is_background else ""
    return f"{background}{mask.category}"


def _coat(mask: ExplainedMask) -> str:
    return f"COAT raised its objectness from {mask.objectness_before:.2f} to {mask.objectness:.2f}"


def _winners(mask: ExplainedMask) -> str:
    named = [
        f"{_percent(share)} to {_winner(region)}"
        for region, share in mask.outscored_by[:MAX_WINNERS]
        if share >= 0.005
    ]
    return f"; it lost {', '.join(named)}" if named else ""


def _winner(region: Region) -> str:
    if region.kind == "background":
        return f"the background class {region.category}"
    if region.kind == "rejected":
        return f"query {region.query} ({region.category}), also rejected"
    return f"segment {region.segment_id} ({region.category})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
