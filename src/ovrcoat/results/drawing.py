"""Draw segments over an image: translucent fills, sharp outlines, names, and a legend below.

The drawing is as wide as the image (wider only if the image is too narrow for the legend) and higher by the
height of the legend.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from PIL import Image

from ovrcoat.errors import ConfigError
from ovrcoat.results.colors import LUMA, Rgb, category_colors, instance_colors, luma
from ovrcoat.results.fonts import shown_name
from ovrcoat.results.labels import draw_labels, with_legend
from ovrcoat.vocabulary import Category

OPACITY = 0.5
BORDER_FRACTION = 1 / 330  # width of an outline, relative to the square root of the image's area
BORDER_LIMITS = (1, 6)  # pixels
OUTLINE_CONTRAST = 60  # difference in brightness to the image below the outline, of 255
FONT_FRACTION = 0.022  # font size, likewise
FONT_LIMITS = (12, 96)  # pixels, for the automatic size
AREA_STEP = 3  # areas are compared on every third pixel of every third row
ALLOWED_FONT_SIZES = (6, 1000)  # pixels


@runtime_checkable
class Labelled(Protocol):
    """The fields of a segment that drawing needs: its value in the id map and its `Category.id`."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def category_id(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawOptions:
    """What an overlay shows; see `Result.draw`.

    Raises:
        ConfigError: a value is not valid.
    """

    opacity: float = OPACITY
    outlines: bool = True
    labels: bool = True
    legend: bool = True
    font_size: int | None = None
    show_instances: bool = True

    def __post_init__(self) -> None:
        check_opacity(self.opacity)
        check_font_size(self.font_size)
        for name in ("outlines", "labels", "legend", "show_instances"):
            check_switch(name, getattr(self, name))


def check_opacity(value: object) -> None:
    """Raise `ConfigError` unless the value is a number from 0 to 1."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= 1):  # type: ignore[operator]
        raise ConfigError(
            f"opacity={value!r} is not valid; expected a number from 0 (only outlines) to 1 (opaque)"
        )


def check_font_size(value: object) -> None:
    """Raise `ConfigError` unless the value is None or a whole number of pixels in the allowed range."""
    smallest, largest = ALLOWED_FONT_SIZES
    is_number = isinstance(value, Integral) and not isinstance(value, bool)
    if value is not None and not (is_number and smallest <= value <= largest):  # type: ignore[operator]
        raise ConfigError(
            f"font_size={value!r} is not valid; expected a whole number of pixels from {smallest} to "
            f"{largest}, or None to choose it by the size of the image"
        )


def check_switch(name: str, value: object) -> None:
    """Raise `ConfigError` unless the value is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigError(f"{name}={value!r} is not valid; expected True or False")


def draw(
    image: UInt8[np.ndarray, "height width 3"],
    id_map: Int32[np.ndarray, "height width"],
    *,
    segments: Sequence[Labelled],
    categories: Sequence[Category],
    options: DrawOptions | None = None,
) -> Image.Image:
    """Draw the segments over the image; pixels of no segment are not changed."""
    options = options or DrawOptions()
    ids = 1 + max([int(id_map.max()), *(segment.id for segment in segments)])
    is_present = np.zeros(ids, dtype=bool)
    is_present[id_map] = True
    areas = np.bincount(id_map[::AREA_STEP, ::AREA_STEP].reshape(-1), minlength=ids)
    shown = [segment for segment in segments if is_present[segment.id]]
    shown.sort(key=lambda segment: -areas[segment.id])  # the largest of a category gets its exact color
    colors = segment_colors(shown, categories, show_instances=options.show_instances)
    painted = paint(image, id_map, colors=colors, options=options)
    if not (options.labels or options.legend):
        return painted

    font_size = options.font_size or automatic_font_size(id_map.shape)
    present = {segment.category_id for segment in shown}
    names = {c.id: shown_name(c.names, id=c.id) for c in categories if c.id in present}
    if options.labels:
        labels = {segment.id: names[segment.category_id] for segment in shown}
        draw_labels(painted, id_map, labels, colors=colors, font_size=font_size)
    if not options.legend:
        return painted
    members = {id: [colors[segment.id] for segment in shown if segment.category_id == id] for id in names}
    entries = [
        (list(dict.fromkeys(members[id])), f"{name} ({len(members[id])})" if len(members[id]) > 1 else name)
        for id, name in names.items()
    ]
    return with_legend(painted, entries, font_size=font_size)


def segment_colors(
    segments: Sequence[Labelled], categories: Sequence[Category], *, show_instances: bool
) -> dict[int, Rgb]:
    """Return the color of each segment id."""
    ids = [segment.category_id for segment in segments]
    if show_instances:
        colors = instance_colors(categories, ids)
    else:
        of_category = category_colors(categories)
        colors = [of_category[id] for id in ids]
    return {segment.id: color for segment, color in zip(segments, colors, strict=True)}


def automatic_font_size(shape: tuple[int, ...]) -> int:
    """Return the height of the font in pixels for an image of this shape."""
    smallest, largest = FONT_LIMITS
    return round(min(max(FONT_FRACTION * math.sqrt(math.prod(shape)), smallest), largest))


def paint(
    image: UInt8[np.ndarray, "height width 3"],
    id_map: Int32[np.ndarray, "height width"],
    *,
    colors: Mapping[int, Rgb],
    options: DrawOptions,
) -> Image.Image:
    """Draw translucent fills, and an outline inside each segment."""
    table = np.zeros((int(id_map.max()) + 1, 3), dtype=np.uint8)
    is_filled = np.zeros(len(table), dtype=bool)
    for id, color in colors.items():
        table[id], is_filled[id] = color, True
    background, fill = Image.fromarray(image), Image.fromarray(table[id_map])
    filled = is_filled[id_map]
    painted = Image.composite(
        Image.blend(background, fill, float(options.opacity)), background, Image.fromarray(filled)
    )
    if options.outlines:
        narrowest, widest = BORDER_LIMITS
        width = min(max(round(BORDER_FRACTION * math.sqrt(id_map.size)), narrowest), widest)
        border = borders(id_map, width=width) & filled
        places = np.flatnonzero(border)  # faster than the mask itself
        ids = id_map.reshape(-1)[places]
        brightness = image.reshape(-1, 3)[places] @ LUMA
        pixels = np.array(painted)
        pixels.reshape(-1, 3)[places] = _outline_colors(table, ids=ids, brightness=brightness)[ids]
        painted = Image.fromarray(pixels)
    return painted


def _outline_colors(
    table: UInt8[np.ndarray, "id 3"],
    *,
    ids: Int32[np.ndarray, " pixel"],
    brightness: Float[np.ndarray, " pixel"],
) -> UInt8[np.ndarray, "id 3"]:
    """Return the color of each segment's outline: its own, made lighter or darker if it would not stand out.

    Args:
        table: the color of each segment id.
        ids: segment ids of the pixels of all outlines.
        brightness: brightness of the image at these pixels.
    """
    counts = np.bincount(ids, minlength=len(table))
    below = np.bincount(ids, weights=brightness, minlength=len(table)) / counts.clip(1)
    outlines = table.copy()
    for id in np.flatnonzero(counts).tolist():
        own = luma(tuple(table[id].tolist()))
        if abs(own - below[id]) >= OUTLINE_CONTRAST:
            continue
        if below[id] < 128:
            share, target = (below[id] + OUTLINE_CONTRAST - own) / (255 - own), 255
        else:
            share, target = (own - below[id] + OUTLINE_CONTRAST) / own, 0
        outlines[id] = np.round(table[id] + share * (target - table[id].astype(float)))
    return outlines


def borders(id_map: Int32[np.ndarray, "height width"], *, width: int) -> Bool[np.ndarray, "height width"]:
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
