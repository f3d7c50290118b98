"""Segment: one region of a result."""

from dataclasses import asdict, dataclass
from typing import Any

BBox = tuple[int, int, int, int]  # (x, y, width, height) in pixels, as in COCO

TOP_CATEGORIES = 5  # number of alternatives that a segment lists


def is_rescued(category_prob: float, *, before: float, after: float) -> bool:
    """Return whether a mask is rejected as void at trust 0, and is not with COAT.

    A mask is rejected as void if void is more likely than its most likely category.

    Args:
        category_prob: probability of the most likely category, given that the mask is not void, 0..1.
        before: objectness without COAT, 0..1.
        after: objectness with COAT, 0..1.
    """
    return category_prob * before < 1 - before and category_prob * after >= 1 - after


@dataclass(frozen=True, slots=True)
class Segment:
    """One region of an image: a thing, or all of one stuff category.

    Attributes:
        id: value in the id map. 0 is void, and never a segment.
        category_id: `Category.id`.
        category: first name of the category.
        score: probability of the category, 0..1; all categories and void sum to one. In an instance result
            it is multiplied by the mask's mean probability; in a semantic result it is the mean share of
            votes.
        area: number of pixels.
        bbox: (x, y, width, height) in pixels, as in COCO.
        is_thing: True for things (countable, one segment each), False for stuff.
        objectness: probability that the mask is not void, 0..1, after COAT.
        objectness_before: the same before COAT.
        clip_confidence: CLIP's largest category probability, 0..1 (`p_cer` in the paper).
        top: the most likely categories of the vocabulary with their probabilities, given that the mask is not
            void. Background classes have a share too, so these need not sum to one.
        query: index of the decoder's query; of the largest mask if stuff was merged.
    """

    id: int
    category_id: int
    category: str
    score: float
    area: int
    bbox: BBox
    is_thing: bool
    objectness: float
    objectness_before: float
    clip_confidence: float
    top: tuple[tuple[str, float], ...]
    query: int

    @property
    def rescued(self) -> bool:
        """Whether COAT rescued the segment (`is_rescued`): without COAT, it would be void."""
        _, best = self.top[0]
        return is_rescued(best, before=self.objectness_before, after=self.objectness)

    def to_coco(self) -> dict[str, Any]:
        """Return an entry of `segments_info` in COCO's panoptic format, with extra keys for other fields."""
        entry = asdict(self)
        bbox, is_thing = entry.pop("bbox"), entry.pop("is_thing")
        return entry | {
            "bbox": list(bbox),
            "isthing": int(is_thing),
            "iscrowd": 0,
            "top": [list(t) for t in self.top],
        }
