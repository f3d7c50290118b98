"""Names in overlays: a label inside each large segment, and a legend below the image."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int32
from PIL import Image, ImageDraw

from ovrcoat.results.colors import Rgb, luma
from ovrcoat.results.fonts import Text, typeset

Rectangle = tuple[int, int, int, int]  # left, top, right, bottom in pixels

PLACING_SIDE = 400  # labels are placed on a map whose long side has at most this many pixels
LABEL_TRIES = 6  # positions to try for a label before it is omitted
WIDEST_ASPECT = 2.0  # of the space that a label requires: wider labels may extend beyond the segment
LEAST_ROOM = 0.4  # required distance from a label's center to the segment's edge, in label heights
LABEL_OPACITY = 190  # of 255
LABEL_SHADE = 0.4  # brightness of the label's background, relative to the segment's color, but at most:
LABEL_LUMA = 60
LABEL_INK = (255, 255, 255)
LEGEND_BACKGROUND, LEGEND_INK = (250, 250, 250), (25, 25, 25)
SWATCH_FRAME = (110, 110, 110)
SWATCH_STRIPES = 4  # colors of instances that the legend shows at most


def draw_labels(
    painted: Image.Image,
    id_map: Int32[np.ndarray, "height width"],
    names: Mapping[int, str],
    *,
    colors: Mapping[int, Rgb],
    font_size: int,
) -> None:
    """Write the names of the segments into them, without overlaps; small segments get no label."""
    pen = ImageDraw.Draw(painted, "RGBA")
    pad = font_size // 4
    texts = {id: typeset(name, font_size) for id, name in names.items()}
    for id, box in place_labels(id_map, texts, pad=pad):
        shade = min(LABEL_SHADE, LABEL_LUMA / max(luma(colors[id]), 1))
        red, green, blue = (round(shade * value) for value in colors[id])
        pen.rounded_rectangle(box, radius=pad, fill=(red, green, blue, LABEL_OPACITY))
        left, top, right, bottom = box
        texts[id].draw(pen, (left + right - texts[id].width) / 2, (top + bottom) / 2, fill=LABEL_INK)


def with_legend(
    painted: Image.Image, entries: Sequence[tuple[Sequence[Rgb], str]], *, font_size: int
) -> Image.Image:
    """Append a legend with color swatches and names, in columns of equal width.

    Args:
        painted: the overlay.
        entries: the colors of a category's segments, the category's own first, and its name.
        font_size: height of the font in pixels.
    """
    if not entries:
        return painted
    gap, line = font_size // 2, round(1.6 * font_size)
    texts = [typeset(name, font_size) for _, name in entries]
    column = math.ceil(max(text.width for text in texts)) + font_size + 3 * gap
    width = max(painted.width, column + gap)
    columns = min((width - gap) // column, len(entries))
    rows = math.ceil(len(entries) / columns)
    canvas = Image.new("RGB", (width, painted.height + rows * line + 2 * gap), LEGEND_BACKGROUND)
    canvas.paste(painted)
    pen = ImageDraw.Draw(canvas)
    for index, (text, (colors, _)) in enumerate(zip(texts, entries, strict=True)):
        x = gap + index % columns * column
        y = painted.height + gap + index // columns * line + line // 2
        _draw_swatch(pen, colors[:SWATCH_STRIPES], x=x, y=y, side=font_size)
        text.draw(pen, float(x + font_size + gap), float(y), fill=LEGEND_INK)
    return canvas


def _draw_swatch(pen: ImageDraw.ImageDraw, colors: Sequence[Rgb], *, x: int, y: int, side: int) -> None:
    """Draw a square of vertical stripes around height `y`, with a thin frame: some colors are white."""
    half = side // 2
    for index, color in enumerate(colors):
        left, right = (x + round(side * edge / len(colors)) for edge in (index, index + 1))
        pen.rectangle((left, y - half, right, y + half), fill=color)
    pen.rectangle((x, y - half, x + side, y + half), outline=SWATCH_FRAME)


def place_labels(
    id_map: Int32[np.ndarray, "height width"], texts: Mapping[int, Text], *, pad: int
) -> Iterator[tuple[int, Rectangle]]:
    """Yield (segment id, rectangle) for each label that fits into its segment, large segments first."""
    step = math.ceil(max(id_map.shape) / PLACING_SIDE)
    coarse = id_map[step // 2 :: step, step // 2 :: step]
    ids, areas = np.unique(coarse, return_counts=True)
    taken: list[Rectangle] = []
    for id in ids[np.argsort(-areas, kind="stable")].tolist():
        if id not in texts:
            continue
        size = (round(texts[id].width) + 2 * pad, round(texts[id].height) + 2 * pad)
        for x, y in _roomy_points(coarse == id, size=size, step=step):
            box = _box_around(x, y, size=size, canvas=id_map.shape)
            if box is not None and not any(overlap(box, other) for other in taken):
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
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    mask = mask[top : rows[-1] + 1, left : columns[-1] + 1]  # the same distances, in less time
    room = distance_to_edge(mask, aspect=min(width / height, WIDEST_ASPECT))
    enough = LEAST_ROOM * height / step
    for _ in range(LABEL_TRIES):
        y, x = np.unravel_index(int(room.argmax()), room.shape)
        if room[y, x] < enough:
            return
        yield (left + int(x)) * step + step // 2, (top + int(y)) * step + step // 2
        reach_y, reach_x = math.ceil(height / step), math.ceil(width / 2 / step)
        room[max(0, y - reach_y) : y + reach_y + 1, max(0, x - reach_x) : x + reach_x + 1] = 0


def distance_to_edge(
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


def overlap(one: Rectangle, other: Rectangle) -> bool:
    """Return whether two rectangles share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
