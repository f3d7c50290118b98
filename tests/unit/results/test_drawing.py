from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image, ImageFont

from ovrcoat.results.drawing import (
    FILL_OPACITY,
    LEGEND_BACKGROUND,
    SHADES,
    _distance_to_edge,
    _overlap,
    _place_labels,
    category_color,
    draw,
)
from ovrcoat.vocabulary import Category

CAT, WALL = Category(("cat",), True, 5), Category(("wall",), False, 8, color=(0, 0, 200))


@dataclass(frozen=True)
class Region:
    id: int
    category_id: int


def image(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 120, dtype=np.uint8)


def drawn(id_map: np.ndarray, *regions: Region) -> np.ndarray:
    drawing = draw(image(*id_map.shape), id_map, segments=regions, categories=(CAT, WALL))
    assert drawing.mode == "RGB"
    return np.asarray(drawing)


def test_a_preset_keeps_its_colour_and_a_word_has_one_colour_everywhere():
    assert category_color(WALL) == (0, 0, 200)
    assert category_color(CAT) == category_color(Category(("Cat", "kitty"), False, 99))
    # pinned: the colour must not change between runs, machines and versions
    assert category_color(CAT) == (43, 171, 146)


def test_two_hundred_words_have_many_colours():
    assert len({category_color(Category((f"word{n}",), True, n)) for n in range(200)}) > 190


def test_fill_is_translucent_borders_are_not_and_void_stays():
    id_map = np.zeros((40, 40), dtype=np.int32)
    id_map[:, 20:] = 1
    pixels = drawn(id_map, Region(1, WALL.id))
    assert pixels[0, 0].tolist() == [120, 120, 120]
    assert pixels[0, 20].tolist() == [0, 0, 200]
    mixed = [round(FILL_OPACITY * color + (1 - FILL_OPACITY) * 120) for color in (0, 0, 200)]
    assert np.abs(pixels[0, 30] - np.array(mixed)).max() <= 1


def test_instances_of_a_category_differ_in_shade():
    id_map = np.repeat(np.arange(1, len(SHADES) + 1, dtype=np.int32), 6)[None].repeat(6, axis=0)
    pixels = drawn(id_map, *(Region(id, CAT.id) for id in range(1, len(SHADES) + 1)))
    assert len({tuple(pixels[2, 6 * place + 3]) for place in range(len(SHADES))}) == len(SHADES)


def test_large_segments_carry_their_name_and_tiny_ones_do_not():
    id_map = np.ones((200, 300), dtype=np.int32)
    id_map[5:9, 5:9] = 2
    names = {1: "wall", 2: "cat"}
    font = ImageFont.load_default(14)
    placed = dict(_place_labels(id_map, names, font=font, pad=3))
    assert set(placed) == {1}
    left, top, right, bottom = placed[1]
    assert 0 <= left < right <= 300
    assert 0 <= top < bottom <= 200
    label = drawn(id_map, Region(1, WALL.id), Region(2, CAT.id))[top:bottom, left:right]
    assert (label == 255).all(-1).any()


def test_room_is_the_distance_to_the_nearest_edge_of_four():
    mask = np.zeros((5, 7), dtype=bool)
    mask[1:, 1:6] = True  # reaches down to the image's edge, which counts
    room = _distance_to_edge(mask, aspect=2.0)
    assert room[3].tolist() == [0, 0.5, 1, 1.5, 1, 0.5, 0]
    assert room[:, 3].tolist() == [0, 1, 1.5, 1.5, 1]


def test_labels_do_not_lie_on_each_other():
    random = np.random.default_rng(0)
    id_map = random.integers(1, 40, (8, 12)).astype(np.int32).repeat(40, axis=0).repeat(40, axis=1)
    names = {id: f"a rather long name {id}" for id in range(1, 40)}
    boxes = [box for _, box in _place_labels(id_map, names, font=ImageFont.load_default(12), pad=3)]
    assert len(boxes) > 10
    assert not any(_overlap(one, other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_the_legend_names_what_is_there_and_nothing_else():
    id_map = np.full((60, 400), 2, dtype=np.int32)
    with_wall = drawn(id_map, Region(1, CAT.id), Region(2, WALL.id))
    legend = with_wall[60:].reshape(-1, 3)
    assert with_wall.shape[1] == 400
    assert tuple(legend[0]) == LEGEND_BACKGROUND
    assert (legend == (0, 0, 200)).all(-1).any()
    assert not (legend == category_color(CAT)).all(-1).any()


def test_nothing_found_is_the_image():
    assert (drawn(np.zeros((5, 7), dtype=np.int32)) == image(5, 7)).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1), (3, 2000), (2, 2)])
def test_extreme_shapes(height: int, width: int):
    pixels = drawn(np.ones((height, width), dtype=np.int32), Region(1, CAT.id))
    assert pixels.shape[0] > height
    assert pixels.shape[1] >= width
    assert not (pixels[:height, :width] == 120).all()


def test_letters_grow_with_the_image():
    def legend_height(side: int) -> int:
        return drawn(np.ones((side, side), dtype=np.int32), Region(1, WALL.id)).shape[0] - side

    assert legend_height(2000) > 2 * legend_height(400)


def test_the_image_is_not_touched():
    pixels = image(20, 20)
    result = draw(pixels, np.ones((20, 20), dtype=np.int32), segments=[Region(1, CAT.id)], categories=(CAT,))
    assert isinstance(result, Image.Image)
    assert (pixels == 120).all()
