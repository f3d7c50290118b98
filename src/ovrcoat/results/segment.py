"""Segment: what is known of one region of a result."""

from dataclasses import asdict, dataclass
from typing import Any

BBox = tuple[int, int, int, int]  # (x, y, width, height) in pixels, as COCO has it

TOP_CATEGORIES = 5  # how many alternatives a segment carries


@dataclass(frozen=True, slots=True)
class Segment:
    """One region of an image: a thing, or all of one stuff category.

    Attributes:
        id: its value in the id map; 0 is void and never a segment.
        category_id: `Category.id`.
        category: the category's first name.
        score: probability of the category, void included, 0..1; in an instance result times the mask's own
            mean probability, in a semantic result the mean share of the votes.
        area: pixels.
        box: (x, y, width, height) in pixels.
        is_thing: countable (each its own segment), or stuff.
        objectness: probability that the mask is something, after COAT.
        objectness_before: the same without COAT.
        certainty: CLIP's largest category probability (`p_cer` of the paper).
        top: the best categories that were asked for, with their probabilities given that the mask is
            something (background classes take their share, so these need not sum to one).
        query: number of the decoder's mask that it comes from, the largest one if stuff was merged.
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

    def to_coco(self) -> dict[str, Any]:
        """Entry of `segments_info` in COCO's panoptic format; what COCO does not know comes as extra keys."""
        entry = asdict(self)
        bbox, is_thing = entry.pop("bbox"), entry.pop("is_thing")
        return entry | {
            "bbox": list(bbox),
            "isthing": int(is_thing),
            "iscrowd": 0,
            "top": [list(t) for t in self.top],
        }
