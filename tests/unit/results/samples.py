"""Small results of each kind."""

import numpy as np

from ovrcoat.results import InstanceResult, PanopticResult, Segment, SemanticResult
from ovrcoat.results.mask import PackedMask
from ovrcoat.vocabulary import Category

CATEGORIES = (
    Category(("cat", "kitty"), True, 7, thing_from="default"),
    Category(("wall",), False, 9, color=(10, 20, 30)),
    Category(("sofa", "couch"), True, 12),
)
ID_MAP = np.array([[0, 1, 1, 2], [0, 1, 2, 2], [3, 3, 2, 2]], dtype=np.int32)
IMAGE = np.full((3, 4, 3), 100, dtype=np.uint8)


def make_segment(
    id: int, place: int, *, area: int, bbox: tuple[int, int, int, int], score: float = 0.8
) -> Segment:
    category = CATEGORIES[place]
    return Segment(
        id=id,
        category_id=category.id,
        category=category.name,
        score=score,
        area=area,
        bbox=bbox,
        is_thing=category.is_thing,
        objectness=0.9,
        objectness_before=0.75,
        clip_confidence=0.6,
        top=((category.name, 0.85), ("dog", 0.1)),
        query=4,
    )


SEGMENTS = (
    make_segment(1, 0, area=3, bbox=(1, 0, 2, 2)),
    make_segment(2, 1, area=5, bbox=(2, 0, 2, 3)),
    make_segment(3, 2, area=2, bbox=(0, 2, 2, 1)),
)


def panoptic_result(name: str | None = "room.jpg", image: np.ndarray | None = IMAGE) -> PanopticResult:
    return PanopticResult(ID_MAP, SEGMENTS, CATEGORIES, image, name)


def semantic_result() -> SemanticResult:
    category_map = np.array([[1, 1], [0, 2]], dtype=np.int32)
    segments = (
        make_segment(1, 0, area=2, bbox=(0, 0, 2, 1)),
        make_segment(2, 1, area=1, bbox=(1, 1, 1, 1)),
    )
    return SemanticResult(category_map, segments, CATEGORIES, IMAGE[:2, :2], "room.jpg")


def instance_result() -> InstanceResult:
    masks = (PackedMask.pack(ID_MAP == 1), PackedMask.pack(ID_MAP > 0), PackedMask.pack(ID_MAP == 3))
    segments = (
        make_segment(1, 0, area=3, bbox=masks[0].bbox, score=0.9),
        make_segment(2, 2, area=10, bbox=masks[1].bbox, score=0.5),
        make_segment(3, 2, area=2, bbox=masks[2].bbox, score=0.01),
    )
    return InstanceResult((3, 4), segments, masks, CATEGORIES, IMAGE, "room.jpg")
