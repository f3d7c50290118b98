import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from ovrcoat.errors import ConfigError
from ovrcoat.results.colors import category_color, category_colors, luma
from ovrcoat.results.drawing import (
    OPACITY,
    OUTLINE_CONTRAST,
    DrawOptions,
    check_font_size,
    check_opacity,
    check_switch,
    draw,
)
from ovrcoat.results.fonts import typeset
from ovrcoat.results.labels import LEGEND_BACKGROUND, place_labels
from ovrcoat.vocabulary import Category

CAT, WALL = Category(("cat",), True, 5), Category(("wall",), False, 8, color=(0, 0, 200))


@dataclass(frozen=True)
class Region:
    id: int
    category_id: int


def image(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 120, dtype=np.uint8)


def drawn(id_map: np.ndarray, *regions: Region, brightness: int = 120, **options: object) -> np.ndarray:
    drawing = draw(
        np.full((*id_map.shape, 3), brightness, dtype=np.uint8),
        id_map,
        segments=regions,
        categories=(CAT, WALL),
        options=DrawOptions(**options),
    )
    assert drawing.mode == "RGB"
    return np.asarray(drawing)


def test_fill_is_translucent_borders_are_not_and_void_stays():
    id_map = np.zeros((40, 40), dtype=np.int32)
    id_map[:, 20:] = 1
    pixels = drawn(id_map, Region(1, WALL.id))
    assert pixels[0, 0].tolist() == [120, 120, 120]
    assert pixels[0, 20].tolist() == [0, 0, 200]
    mixed = [round(OPACITY * color + (1 - OPACITY) * 120) for color in (0, 0, 200)]
    assert np.abs(pixels[0, 30] - np.array(mixed)).max() <= 1


@pytest.mark.parametrize(("side", "width"), [(100, 1), (600, 2), (3000, 6)])
def test_outlines_are_wider_in_larger_images(side: int, width: int):
    id_map = np.zeros((side, side), dtype=np.int32)
    id_map[:, side // 2 :] = 1
    pixels = drawn(id_map, Region(1, WALL.id), labels=False, legend=False)
    row = pixels[side // 2, side // 2 :]
    assert (row[:width] == (0, 0, 200)).all()
    assert (row[width:] != (0, 0, 200)).any(axis=1).all()


def test_the_largest_segment_has_the_color_of_the_category_and_others_differ():
    id_map = np.full((6, 60), 3, dtype=np.int32)
    id_map[:, :6], id_map[:, 6:12], id_map[:, 12:18] = 1, 2, 4
    regions = [Region(id, CAT.id) for id in (1, 2, 3, 4)]
    pixels = drawn(id_map, *regions, opacity=1.0, outlines=False, labels=False)
    inside = [tuple(pixels[2, x].tolist()) for x in (3, 9, 40, 15)]
    assert inside[2] == category_color(CAT)
    assert len(set(inside)) == 4
    same = drawn(id_map, *regions, opacity=1.0, outlines=False, labels=False, show_instances=False)
    assert {tuple(same[2, x].tolist()) for x in range(60)} == {category_color(CAT)}


def test_what_is_drawn_has_the_colors_of_the_vocabulary():
    names = ("sky", "unicorn", "ocean", "sea", "goblin")
    categories = [Category((name,), False, 10 + n) for n, name in enumerate(names)]
    id_map = np.arange(1, 6, dtype=np.int32).repeat(10)[None].repeat(8, axis=0)
    drawing = draw(
        image(8, 50),
        id_map,
        segments=[Region(n, 9 + n) for n in range(1, 6)],
        categories=categories,
        options=DrawOptions(opacity=1.0, outlines=False, labels=False, legend=False),
    )
    assert drawing.size == (50, 8)
    seen = [drawing.getpixel((10 * n + 5, 4)) for n in range(5)]
    assert seen == list(category_colors(categories).values())


@pytest.mark.parametrize("brightness", [0, 40, 90, 127, 128, 170, 255])
@pytest.mark.parametrize("color", [(0, 0, 0), (0, 0, 142), (128, 128, 128), (250, 250, 20), (255, 255, 255)])
def test_outlines_stand_out_on_any_image(brightness: int, color: tuple[int, int, int]):
    drawing = draw(
        np.full((40, 40, 3), brightness, dtype=np.uint8),
        np.pad(np.ones((20, 20), dtype=np.int32), 10),
        segments=[Region(1, 1)],
        categories=[Category(("x",), True, 1, color=color)],
        options=DrawOptions(labels=False, legend=False),
    )
    outline = drawing.getpixel((10, 20))
    assert abs(luma(outline) - brightness) >= OUTLINE_CONTRAST - 2
    assert drawing.getpixel((9, 20)) == (brightness,) * 3
    if abs(luma(color) - brightness) >= OUTLINE_CONTRAST:
        assert outline == color


def test_options_leave_things_out():
    id_map = np.ones((200, 300), dtype=np.int32)
    id_map[:, 150:] = 0
    wall = Region(1, WALL.id)
    everything = drawn(id_map, wall)
    plain = drawn(id_map, wall, labels=False, legend=False)
    assert plain.shape == (200, 300, 3)
    assert len(everything) > 200
    assert (drawn(id_map, wall, legend=False) == everything[:200]).all()
    assert (everything[:200] != plain).any()
    transparent = drawn(id_map, wall, labels=False, legend=False, opacity=0.0)
    assert (transparent[50:100, 50:100] == 120).all()
    assert (transparent[50, 149] == (0, 0, 200)).all()
    flat = drawn(id_map, wall, labels=False, legend=False, outlines=False)
    assert (flat[:, :150] == flat[0, 0]).all()
    opaque = drawn(id_map, wall, labels=False, legend=False, opacity=1.0)
    assert (opaque[:, :150] == (0, 0, 200)).all()


def test_the_font_size_can_be_chosen():
    id_map = np.ones((200, 300), dtype=np.int32)
    small, large = (drawn(id_map, Region(1, WALL.id), font_size=size) for size in (10, 40))
    assert len(large) - 200 > 3 * (len(small) - 200)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf"), True, "half", None, 1j])
def test_an_invalid_opacity_is_an_error(value: object):
    with pytest.raises(ConfigError, match=r"^opacity=.* is not valid; expected a number from 0 .* to 1"):
        check_opacity(value)


@pytest.mark.parametrize("value", [0, 5, 1001, -3, 12.5, True, "big", float("nan")])
def test_an_invalid_font_size_is_an_error(value: object):
    message = r"^font_size=.* is not valid; expected a whole number of pixels from 6 to 1000, or None"
    with pytest.raises(ConfigError, match=message):
        check_font_size(value)


@pytest.mark.parametrize("value", ["no", 2, None, 1])
def test_an_invalid_switch_is_an_error(value: object):
    with pytest.raises(ConfigError, match=r"^labels=.* is not valid; expected True or False"):
        check_switch("labels", value)


def test_options_are_checked_when_they_are_made():
    for options in ({"opacity": 2.0}, {"font_size": 1}):
        with pytest.raises(ConfigError, match="is not valid"):
            DrawOptions(**options)
    for value in (0, 1, 0.25, np.float32(0.5)):
        check_opacity(value)
    for size in (6, np.int64(20), 1000, None):
        check_font_size(size)


def test_a_white_legend_swatch_has_a_frame():
    snow = Category(("snow",), False, 1, color=(255, 255, 255))
    id_map = np.ones((40, 90), dtype=np.int32)
    drawing = draw(image(40, 90), id_map, segments=[Region(1, 1)], categories=[snow])
    legend = np.asarray(drawing)[40:, :18]
    assert (legend == (255, 255, 255)).all(-1).sum() > 50
    assert (legend == (110, 110, 110)).all(-1).sum() > 30


def test_category_names_in_other_scripts_do_not_stop_the_drawing():
    names = ["кот", "猫", "قطة", "भालू", "\ud800", "x\ny", "", " ".join(["long"] * 200)]
    categories = [Category((name,), True, n + 1) for n, name in enumerate(names)]
    id_map = np.arange(1, len(names) + 1, dtype=np.int32).repeat(40)[None].repeat(80, axis=0)
    with warnings.catch_warnings(action="ignore"):
        drawing = draw(
            image(*id_map.shape),
            id_map,
            segments=[Region(n + 1, n + 1) for n in range(len(names))],
            categories=categories,
        )
    assert drawing.width < 2 * id_map.shape[1] + 400


def test_large_segments_carry_their_name_and_tiny_ones_do_not():
    id_map = np.ones((200, 300), dtype=np.int32)
    id_map[5:9, 5:9] = 2
    names = {1: typeset("wall", 14), 2: typeset("cat", 14)}
    placed = dict(place_labels(id_map, names, pad=3))
    assert set(placed) == {1}
    left, top, right, bottom = placed[1]
    assert 0 <= left < right <= 300
    assert 0 <= top < bottom <= 200
    label = drawn(id_map, Region(1, WALL.id), Region(2, CAT.id))[top:bottom, left:right]
    assert (label == 255).all(-1).any()


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
