"""What happened to each mask on the way to a panoptic map: a segment, or the reason for its rejection."""

from dataclasses import dataclass
from enum import StrEnum


class MaskStatus(StrEnum):
    """Outcome of one mask, in the order of the tests; all but SEGMENT are reasons for rejection."""

    VOID = "void"  # void is more likely than the best category
    BELOW_THRESHOLD = "below-threshold"  # the score does not exceed the object mask threshold
    DUPLICATE = "duplicate"  # a better mask covers nearly the same pixels
    BACKGROUND = "background"  # the best category is a background class: its pixels become void
    EMPTY = "empty"  # no pixel of the image has a mask probability of 0.5 or more
    OVERLAP = "overlap"  # other masks won too many of its pixels
    SEGMENT = "segment"  # it is a segment, or a part of one (stuff)


@dataclass(frozen=True, slots=True)
class MaskOutcome:
    """One mask of the decoder and its status.

    Attributes:
        query: index of the decoder's query.
        status: the outcome.
        category_id: id of the most likely category; None if that is a background class.
        category: name of the most likely category, background classes included.
        score: probability of that category, 0..1; all categories and void sum to one.
        void: probability of void, 0..1.
        segment_id: id of the segment that the mask belongs to; None if it was rejected.
        duplicate_of: query of the better mask, if the status is DUPLICATE.
    """

    query: int
    status: MaskStatus
    category_id: int | None
    category: str | None
    score: float
    void: float
    segment_id: int | None = None
    duplicate_of: int | None = None
