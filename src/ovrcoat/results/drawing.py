"""Draw segments over an image: translucent fills, sharp borders, names, and a legend below.

The drawing is as wide as the image (wider only if the image is too narrow for the legend) and higher by the
height of the legend. Colors are stable: the color of the preset, else one derived from the category's name.
"""

import colorsys
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from PIL import Image, ImageDraw, ImageFont

from ovrcoat.vocabulary import Category

Rgb = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FILL_OPACITY = 0.5
SHADES = (0.0, 0.25, -0.25, 0.4, -0.4, 0.12, -0.12)  # lighter or darker, for the instances of one category
BORDER_FRACTION = 1 / 900  # width of a border, relative to the square root of the image's area
FONT_FRACTION = 0.022  # font size, likewise
FONT_LIMITS = (12, 96)  # pixels
PLACING_SIDE = 400  # labels are placed on a map whose long side has at most this many pixels
LABEL_TRIES = 6  # positions to try for a label before it is omitted
WIDEST_ASPECT = 2.0  # of the space that a label requires: wider labels may extend beyond the segment
LEAST_ROOM = 0.4  # required distance from a label's center to the segment's edge, in label heights
LABEL_OPACITY = 190  # of 255
LEGEND_BACKGROUND, LEGEND_INK = (250, 250, 250), (25, 25, 25)


@runtime_checkable
class Labelled(Protocol):
    """The fields of a segment that drawing needs: its value in the id map and its `Category.id`."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def category_id(self) -> int: ...  # noqa: D102


def category_color(category: Category) -> Rgb:
    """Return the category's own color, else one derived from its name (equal names have equal colors)."""
    if category.color is not None:
        return category.color
    digest = hashlib.sha256(category.name.casefold().encode()).digest()
    hue = int.from_bytes(digest[:4]) / 2**32
    lightness = (0.42, 0.52, 0.62)[digest[4] % 3]
    saturation = (0.6, 0.75, 0.9)[digest[5] % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(
    image: UInt8[np.ndarray, "height width 3"],
    id_map: Int32[np.ndarray, "height width"],
    *,
    segments: Sequence[Labelled],
    categories: Sequence[Category],
) -> Image.Image:
    """Draw the segments over the image; pixels of no segment are not changed."""
    category_of = {category.id: category for category in categories}
    is_present = np.zeros(1 + max([int(id_map.max()), *(segment.id for segment in segments)]), dtype=bool)
    is_present[id_map] = True
    shown = [segment for segment in segments if is_present[segment.id]]
    colors = _segment_colors(shown, category_of)
    painted = _paint(image, id_map, colors=colors)

    side = math.sqrt(id_map.size)
    smallest, largest = FONT_LIMITS
    font_size = round(min(max(FONT_FRACTION * side, smallest), largest))
    font = ImageFont.load_default(font_size)
    names = {segment.id: category_of[segment.category_id].name for segment in shown}
    pen = ImageDraw.Draw(painted, "RGBA")
    for id, box in _place_labels(id_map, names, font=font, pad=font_size // 4):
        background = (*_shade(colors[id], -0.6), LABEL_OPACITY)
        pen.rounded_rectangle(box, radius=font_size // 4, fill=background)
        pen.text(_center(box), names[id], font=font, fill=(255, 255, 255), anchor="mm")

    counts = Counter(segment.category_id for segment in shown)
    entries = [
        (category_color(category), category.name + (f" ({count})" if count > 1 else ""))
        for category in categories
        if (count := counts[category.id])
    ]
    return _with_legend(painted, entries, font=font, font_size=font_size)


def _segment_colors(segments: Sequence[Labelled], category_of: Mapping[int, Category]) -> dict[int, Rgb]:
    """Return the color of each segment id; instances of one category differ in shade."""
    colors = {}
    instances: Counter[int] = Counter()
    for segment in segments:
        shade = SHADES[instances[segment.category_id] % len(SHADES)]
        instances[segment.category_id] += 1
        colors[segment.id] = _shade(category_color(category_of[segment.category_id]), shade)
    return colors


def _shade(color: Rgb, amount: float) -> Rgb:
    """Blend with white (`amount` 0..1) or with black (`amount` 0..-1)."""
    target = 255 if amount > 0 else 0
    red, green, blue = (round(value + (target - value) * abs(amount)) for value in color)
    return red, green, blue


def _paint(
    image: UInt8[np.ndarray, "height width 3"],
    id_map: Int32[np.ndarray, "height width"],
    *,
    colors: Mapping[int, Rgb],
) -> Image.Image:
    """Draw translucent fills, and a border in full color around each segment."""
    table = np.zeros((int(id_map.max()) + 1, 3), dtype=np.uint8)
    is_filled = np.zeros(len(table), dtype=bool)
    for id, color in colors.items():
        table[id], is_filled[id] = color, True
    background, fill = Image.fromarray(image), Image.fromarray(table[id_map])
    filled = is_filled[id_map]
    painted = Image.composite(
        Image.blend(background, fill, FILL_OPACITY), background, Image.fromarray(filled)
    )
    border = _borders(id_map, width=max(1, round(BORDER_FRACTION * math.sqrt(id_map.size)))) & filled
    painted.paste(fill, mask=Image.fromarray(border))
    return painted


def _borders(id_map: Int32[np.ndarray, "height width"], *, width: int) -> Bool[np.ndarray, "height width"]:
    """Return the pixels that are at most `width` away from a pixel with another id."""
    border = np.zeros(id_map.shape, dtype=bool)
    below, beside = id_map[1:] != id_map[:-1], id_map[:, 1:] != id_map[:, :-1]
    border[1:] |= below
    border[:-1] |= below
    border[:, 1:] |= beside
    border[:, :-1] |= beside
    for _ in range(width - 1):  # dilate by the four neighbors
        grown = border.copy()
        grown[1:] |= border[:-1]
        grown[:-1] |= border[1:]
        grown[:, 1:] |= border[:, :-1]
        grown[:, :-1] |= border[:, 1:]
        border = grown
    return border


def _place_labels(
    id_map: Int32[np.ndarray, "height width"], names: Mapping[int, str], *, font: Font, pad: int
) -> Iterator[tuple[int, Rectangle]]:
    """Yield (segment id, rectangle) for each label that fits into its segment, large segments first."""
    step = math.ceil(max(id_map.shape) / PLACING_SIDE)
    coarse = id_map[step // 2 :: step, step // 2 :: step]
    ids, areas = np.unique(coarse, return_counts=True)
    taken: list[Rectangle] = []
    for id in ids[np.argsort(-areas, kind="stable")].tolist():
        if id not in names:
            continue
        left, top, right, bottom = font.getbbox(names[id])
        size = (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad)
        for x, y in _roomy_points(coarse == id, size=size, step=step):
            box = _box_around(x, y, size=size, canvas=id_map.shape)
            if box is not None and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield id, box
                break


def _roomy_points(
    mask: Bool[np.ndarray, "height width"], *, size: tuple[int, int], step: int
) -> Iterator[tuple[int, int]]:
    """Yield positions (x, y) inside the mask with the most space for a label of `size`, best first.

    Space is the distance to the mask's edge, divided horizontally by the aspect ratio of the label. Labels
    may extend beyond narrow segments such as people and poles. Tiny segments yield nothing.
    """
    width, height = size
    room = _distance_to_edge(mask, aspect=min(width / height, WIDEST_ASPECT))
    enough = LEAST_ROOM * height / step
    for _ in range(LABEL_TRIES):
        y, x = np.unravel_index(int(room.argmax()), room.shape)
        if room[y, x] < enough:
            return
        yield int(x) * step + step // 2, int(y) * step + step // 2
        reach_y, reach_x = math.ceil(height / step), math.ceil(width / 2 / step)
        room[max(0, y - reach_y) : y + reach_y + 1, max(0, x - reach_x) : x + reach_x + 1] = 0


def _distance_to_edge(
    mask: Bool[np.ndarray, "height width"], *, aspect: float
) -> Float[np.ndarray, "height width"]:
    """Return the distance to the mask's edge in the nearest of four directions, in pixels.

    Horizontal distances are divided by `aspect`.

    The edge of the image is an edge of the mask. The exact distance would need scipy, whose import takes
    longer than drawing a small image.
    """
    vertical = np.minimum(_run_length(mask), _run_length(mask[::-1])[::-1])
    sideways = np.minimum(_run_length(mask.T), _run_length(mask.T[::-1])[::-1]).T
    return np.minimum(vertical, sideways / aspect)


def _run_length(mask: Bool[np.ndarray, "row column"]) -> Float[np.ndarray, "row column"]:
    """Return the number of consecutive mask pixels that end at each pixel, from above."""
    rows = np.arange(1, len(mask) + 1, dtype=np.float64)[:, None]
    return rows - np.maximum.accumulate(np.where(mask, 0.0, rows), axis=0)


def _box_around(x: int, y: int, *, size: tuple[int, int], canvas: tuple[int, ...]) -> Rectangle | None:
    """Return the label's rectangle around (x, y), moved into the image; None if it does not fit."""
    width, height = size
    if width > canvas[1] or height > canvas[0]:
        return None
    left = min(max(x - width // 2, 0), canvas[1] - width)
    top = min(max(y - height // 2, 0), canvas[0] - height)
    return left, top, left + width, top + height


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _center(box: Rectangle) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _with_legend(
    painted: Image.Image, entries: Sequence[tuple[Rgb, str]], *, font: Font, font_size: int
) -> Image.Image:
    """Append a legend with color swatches and names, in columns of equal width."""
    if not entries:
        return painted
    gap, line = font_size // 2, round(1.6 * font_size)
    column = math.ceil(max(font.getlength(text) for _, text in entries)) + font_size + 3 * gap
    width = max(painted.width, column + gap)
    columns = min((width - gap) // column, len(entries))
    rows = math.ceil(len(entries) / columns)
    canvas = Image.new("RGB", (width, painted.height + rows * line + 2 * gap), LEGEND_BACKGROUND)
    canvas.paste(painted)
    pen = ImageDraw.Draw(canvas)
    for index, (color, text) in enumerate(entries):
        x = gap + index % columns * column
        y = painted.height + gap + index // columns * line + line // 2
        half = font_size // 2
        pen.rectangle((x, y - half, x + font_size, y + half), fill=color)
        pen.text((x + font_size + gap, y), text, font=font, fill=LEGEND_INK, anchor="lm")
    return canvas
