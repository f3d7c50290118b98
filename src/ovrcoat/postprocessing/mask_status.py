"""What became of each mask on its way to a panoptic map: no query disappears without a reason."""

from dataclasses import dataclass
from enum import StrEnum


class MaskStatus(StrEnum):
    """Where the way of a mask ended, in the order of the way; the last one is success."""

    VOID = "void"  # "nothing" was likelier than the best category
    BELOW_THRESHOLD = "below-threshold"  # its score does not pass the object mask threshold
    DUPLICATE = "duplicate"  # a better mask covers nearly the same pixels
    HIDDEN = "background"  # a background class names it: its pixels are void
    EMPTY = "empty"  # no pixel of the image has a mask probability of 0.5
    OVERLAP = "overlap"  # other masks won too much of it
    SEGMENT = "segment"  # it is a segment, or a part of one (stuff)


@dataclass(frozen=True, slots=True)
class ExplainedMask:
    """One query of a photo.

    Attributes:
        query: its number.
        fate: where its way ended.
        category_id: of its likeliest category; None if that is a background class.
        score: probability of that category, void included, 0..1.
        void: probability of void, 0..1.
        segment_id: of the segment that it became; None if it became none.
    """

    query: int
    status: MaskStatus
    category_id: int | None
    score: float
    void: float
    segment_id: int | None = None
