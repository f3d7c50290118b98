"""A result with everything that label formats lose: holes, parts, void, overlaps, special characters."""

from pathlib import Path

import numpy as np
from PIL import Image

from ovrcoat.results import InstanceResult, PanopticResult, Segment, SemanticResult
from ovrcoat.results.mask import PackedMask
from ovrcoat.vocabulary import Category

HEIGHT, WIDTH = 24, 32
NAME = "a scene.png"
CATEGORIES = (
    Category(("ring", "band"), True, 7),
    Category(('"quoted" & <named>',), True, 9),
    Category(("wall",), False, 12, color=(10, 20, 30)),
    Category(("snow",), False, 40),
)


def make_id_map() -> np.ndarray:
    id_map = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
    id_map[18:23, 1:31] = 4  # stuff in two parts, one of them with a hole
    id_map[20:21, 4:9] = 0
    id_map[18:23, 15] = 0
    id_map[1:12, 1:14] = 1  # a ring, and a smaller segment in its hole
    id_map[4:9, 4:10] = 0
    id_map[5:7, 5:8] = 2
    id_map[2:5, 18:22] = 3  # three parts, of which two touch at a corner
    id_map[5:9, 22:25] = 3
    id_map[0, 31] = 3
    return id_map


ID_MAP = make_id_map()
SEGMENT_CATEGORIES = {1: CATEGORIES[0], 2: CATEGORIES[1], 3: CATEGORIES[0], 4: CATEGORIES[2]}
IMAGE = (np.stack([ID_MAP] * 3, axis=-1) * 50 + 20).astype(np.uint8)


def make_segment(id: int, category: Category, mask: np.ndarray, score: float = 0.75) -> Segment:
    packed = PackedMask.pack(mask)
    return Segment(
        id=id,
        category_id=category.id,
        category=category.name,
        score=score,
        area=packed.area,
        bbox=packed.bbox,
        is_thing=category.is_thing,
        objectness=0.9,
        objectness_before=0.8,
        clip_confidence=0.7,
        top=((category.name, 0.8),),
        query=id,
    )


def panoptic_scene() -> PanopticResult:
    segments = tuple(make_segment(id, of, id == ID_MAP) for id, of in SEGMENT_CATEGORIES.items())
    return PanopticResult(ID_MAP, segments, CATEGORIES, IMAGE, NAME)


def semantic_scene() -> SemanticResult:
    values = {1: 1, 2: 2, 3: 1, 4: 3}
    category_map = np.array([values.get(id, 0) for id in range(5)], dtype=np.int32)[ID_MAP]
    segments = tuple(make_segment(value, CATEGORIES[value - 1], category_map == value) for value in (1, 2, 3))
    return SemanticResult(category_map, segments, CATEGORIES, IMAGE, NAME)


def instance_scene() -> InstanceResult:
    """Two instances that overlap, a duplicate of the first one, and a weak one."""
    masks = [ID_MAP == 1, (ID_MAP == 2) | (ID_MAP == 1) & (np.arange(WIDTH) < 4), ID_MAP == 1, ID_MAP == 3]
    scores = (0.9, 0.8, 0.6, 0.05)
    segments = tuple(
        make_segment(id, CATEGORIES[id % 2], mask, score)
        for id, (mask, score) in enumerate(zip(masks, scores, strict=True), start=1)
    )
    return InstanceResult(
        (HEIGHT, WIDTH), segments, tuple(map(PackedMask.pack, masks)), CATEGORIES, IMAGE, NAME
    )


SCENES = {"panoptic": panoptic_scene, "semantic": semantic_scene, "instance": instance_scene}


def empty_scene() -> PanopticResult:
    return PanopticResult(np.zeros((4, 6), np.int32), (), CATEGORIES, np.zeros((4, 6, 3), np.uint8), "no.png")


def write_scene_image(folder: Path) -> Path:
    path = folder / NAME
    Image.fromarray(IMAGE).save(path)
    return path
