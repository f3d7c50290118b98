"""Draw an explanation: rescued segments are highlighted, rejected masks are dashed outlines.

All other segments are pale. The outlines have colors of the palette of Okabe and Ito, which people with
any common kind of color vision can tell apart. Dashes distinguish rejected masks from segments without color.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from PIL import Image

from ovrcoat.results.colors import Rgb
from ovrcoat.results.drawing import DrawOptions, automatic_font_size, borders, paint, segment_colors
from ovrcoat.results.fonts import shown_name
from ovrcoat.results.labels import draw_labels, with_legend
from ovrcoat.results.segment import Segment
from ovrcoat.vocabulary import Category

PALE, STRONG = DrawOptions(opacity=0.25), DrawOptions(opacity=0.6)
LINE_FRACTION = 1 / 300  # width of a line, relative to the square root of the image's area
MIN_LINE = 2  # pixels
DASH = 5  # length of a dash, in line widths
CASING: Rgb = (0, 0, 0)  # a thin line around each outline: it is visible on any image
RESCUED_COLOR: Rgb = (255, 255, 255)
RESCUED_LEGEND = "rescued by COAT: objectness before and after"


@dataclass(frozen=True, slots=True)
class RejectedMask:
    """A rejected mask to draw.

    Attributes:
        mask: its pixels, at the size of the image.
        label: text inside it.
        reason: entry of the legend.
        color: of its outline.
    """

    mask: Bool[np.ndarray, "height width"]
    label: str
    reason: str
    color: Rgb


def draw_explanation(
    image: UInt8[np.ndarray, "height width 3"],
    id_map: Int32[np.ndarray, "height width"],
    *,
    segments: Sequence[Segment],
    categories: Sequence[Category],
    rescued: Mapping[int, str],
    rejected: Iterable[RejectedMask],
    font_size: int | None,
) -> Image.Image:
    """Draw an explanation over the image, with a legend below it.

    Args:
        image: the RGB image, 0..255.
        id_map: id of the segment of each pixel; 0 is void.
        segments: the segments; the first of a category gets the category's own color.
        categories: the vocabulary's categories.
        rescued: labels of the segments to highlight, by segment id.
        rejected: rejected masks, the largest first; each is dropped before the next one is requested.
        font_size: height of the font in pixels; None chooses it by the size of the image.
    """
    font_size = font_size or automatic_font_size(id_map.shape)
    line = max(MIN_LINE, round(LINE_FRACTION * math.sqrt(id_map.size)))
    colors = segment_colors(segments, categories, show_instances=True)
    is_rescued = np.isin(id_map, list(rescued))
    rescued_map, other_map = np.where(is_rescued, id_map, 0), np.where(is_rescued, 0, id_map)
    canvas = paint(image, other_map, colors=_of(other_map, colors), options=PALE)
    canvas = paint(np.array(canvas), rescued_map, colors=_of(rescued_map, colors), options=STRONG)
    pixels = np.array(canvas)
    _outline(pixels, rescued_map, color=RESCUED_COLOR, line=line)

    # where the labels go: rejected masks do not exclude each other, so smaller ones are on top
    label_map = rescued_map.copy()
    labels, label_colors = dict(rescued), dict(colors)
    reasons = Counter[tuple[str, Rgb]]()
    for id, one in enumerate(rejected, start=1 + max((s.id for s in segments), default=0)):
        _outline(pixels, one.mask.astype(np.int32), color=one.color, line=line, dash=DASH * line)
        label_map[one.mask] = id
        labels[id], label_colors[id] = one.label, one.color
        reasons[one.reason, one.color] += 1
    canvas = Image.fromarray(pixels)
    draw_labels(canvas, label_map, labels, colors=label_colors, font_size=font_size)

    entries = _category_entries(segments, categories, colors)
    if rescued:
        entries.append(([RESCUED_COLOR], f"{RESCUED_LEGEND} ({len(rescued)})"))
    entries += [([color], f"{reason} ({count})") for (reason, color), count in reasons.items()]
    return with_legend(canvas, entries, font_size=font_size)


def _of(id_map: Int32[np.ndarray, "height width"], colors: Mapping[int, Rgb]) -> dict[int, Rgb]:
    """Return the colors of the segments in a map."""
    return {id: colors[id] for id in np.unique(id_map).tolist() if id}


def _category_entries(
    segments: Sequence[Segment], categories: Sequence[Category], colors: Mapping[int, Rgb]
) -> list[tuple[Sequence[Rgb], str]]:
    names_of = {category.id: category.names for category in categories}
    of_category: dict[int, Rgb] = {}
    for segment in segments:
        of_category.setdefault(segment.category_id, colors[segment.id])
    return [([color], shown_name(names_of[id], id=id)) for id, color in of_category.items()]


def _outline(
    pixels: UInt8[np.ndarray, "height width 3"],
    id_map: Int32[np.ndarray, "height width"],
    *,
    color: Rgb,
    line: int,
    dash: int | None = None,
) -> None:
    """Draw an outline inside each region of a map, and a casing around it; dashed if `dash` is a length."""
    rows, columns = (np.flatnonzero(id_map.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return
    top, left = max(0, rows[0] - line), max(0, columns[0] - line)
    # the other pixels do not change
    window = slice(top, rows[-1] + line + 1), slice(left, columns[-1] + line + 1)
    inside = id_map[window]
    is_line = borders(inside, width=line) & (inside != 0)
    is_casing = borders(is_line.astype(np.int32), width=max(1, line // 2)) & ~is_line
    if dash is not None:
        height, width = inside.shape
        is_dash = (np.arange(height)[:, None] + np.arange(width)) // dash % 2 == 0
        is_line &= is_dash
        is_casing &= is_dash
    pixels[window][is_casing] = CASING
    pixels[window][is_line] = color
