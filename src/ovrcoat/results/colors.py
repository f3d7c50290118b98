"""Colors of categories and segments: familiar, far apart, and stable.

Colors are chosen for a whole vocabulary. Distances between colors are CIEDE2000, for normal vision and for
the three kinds of color blindness.
"""

import colorsys
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import cycle

import numpy as np
from jaxtyping import Float

from ovrcoat.results.color_space import difference, lab_to_srgb, srgb_to_lab, vision_labs
from ovrcoat.vocabulary import Category
from ovrcoat.vocabulary.catalog import match_key, preset_categories

Rgb = tuple[int, int, int]
Labs = Float[np.ndarray, "*shape 3"]

APART = 20.0  # CIEDE2000 between two categories; below about 15, two fills over an image look alike
APART_COLOR_BLIND = 10.0  # the same, as seen with protanopia, deuteranopia and tritanopia
SEPARATED = 100  # categories; further ones get the color of their name, whatever its neighbors
COLOR_PRESETS = ("coco", "ade20k", "cityscapes", "mapillary")  # in the order in which a name is looked up
LUMA = np.array([0.299, 0.587, 0.114])  # share of red, green and blue in the brightness (ITU-R BT.601)
GRID = 9  # levels per channel of the colors from which a replacement is chosen
GRID_LIGHTNESS, GRID_CHROMA = (30.0, 92.0), 20.0  # neither black nor white nor gray

# Steps from the color of a category to those of its instances, in units of CIEDE2000.
INSTANCE_STEPS = {"lightness": (-18, -9, 0, 9, 18), "hue": (-9, 0, 9), "chroma": (-6, 0, 6)}
INSTANCE_RADIUS = 18.0  # CIEDE2000: farther colors do not look like the category
INSTANCE_MARGIN = (
    0.8  # an instance's distance to its category, relative to that to any other, is at most this
)
INSTANCES_APART = 4.0  # CIEDE2000; if no color is left that is so far from the used ones, they are repeated


def category_colors(categories: Sequence[Category]) -> Mapping[int, Rgb]:
    """Return the color of each category by `Category.id`.

    1. A color that the vocabulary itself gives is never changed.
    2. A name that a preset with colors contains gets the color of the preset.
    3. Any other name gets a color derived from its spelling.

    A color of kind 2 or 3 that is too close to one chosen before is replaced by the most similar one that is
    at least `APART` away from all of them, or by the most distant one if there is none. Appending categories
    of the same kind does not change the colors of the others.
    """
    return _category_colors(tuple(categories))


def category_color(category: Category) -> Rgb:
    """Return the color of a category that is drawn alone; `category_colors` may move it away from others."""
    return category.color or _preset_color(category.names) or _name_color(category.name)


def instance_colors(categories: Sequence[Category], category_ids: Sequence[int]) -> list[Rgb]:
    """Return one color per segment of an image, given the category of each segment.

    The first segment of a category has the category's color. The others differ from it in lightness, hue or
    chroma, but each is closer to its own category than to any other one of the image.
    """
    of_category = category_colors(categories)
    counts = Counter(category_ids)
    variations = {}
    for id, count in counts.items():
        others = {of_category[other] for other in counts} - {of_category[id]}
        variations[id] = cycle(_variations(of_category[id], tuple(sorted(others)), count))
    return [next(variations[id]) for id in category_ids]


def luma(color: Rgb) -> float:
    """Return the brightness of a color from 0 to 255."""
    return float(np.dot(LUMA, color))


@lru_cache(maxsize=32)
def _category_colors(categories: tuple[Category, ...]) -> dict[int, Rgb]:
    """Return the colors; see `category_colors`."""
    chosen = {category.id: category.color for category in categories if category.color is not None}
    palette = _Palette(list(chosen.values()))
    others = [category for category in categories if category.color is None]
    known = {category.id: _preset_color(category.names) for category in others}
    for category in sorted(others, key=lambda category: known[category.id] is None):  # stable: known first
        color = known[category.id]
        chosen[category.id] = palette.choose(color or _name_color(category.name))
    return {category.id: chosen[category.id] for category in categories}


class _Palette:
    """The colors chosen so far, and the replacements that are still far enough from all of them."""

    def __init__(self, colors: Sequence[Rgb]) -> None:
        self._labs = vision_labs(np.array(colors, dtype=np.float64).reshape(-1, 3))  # (vision, color, 3)
        self._room: Float[np.ndarray, "vision candidate"] | None = None  # distance to the closest color
        self._measured = 0  # number of colors that `_room` takes into account

    def choose(self, preferred: Rgb) -> Rgb:
        """Return `preferred`, or the most similar color that is far enough from all colors chosen so far."""
        labs = vision_labs(np.array([preferred], dtype=np.float64))
        count = self._labs.shape[1]
        if count >= SEPARATED:
            return preferred
        if count:
            room = difference(self._labs, labs).min(axis=1)
            if room[0] < APART or room[1:].min() < APART_COLOR_BLIND:
                preferred, labs = self._replace(labs)
        self._labs = np.concatenate([self._labs, labs], axis=1)
        return preferred

    def _replace(self, labs: Labs) -> tuple[Rgb, Labs]:
        """Return the replacement of a color and its appearance."""
        colors, candidates = _candidates()
        new = self._labs[:, self._measured :, None, :]
        room = difference(new, candidates[:, None]).min(axis=1)
        self._room = room if self._room is None else np.minimum(self._room, room)
        self._measured = self._labs.shape[1]
        is_free = self._room[0] >= APART
        is_free_color_blind = is_free & (self._room[1:] >= APART_COLOR_BLIND).all(axis=0)
        if is_free_color_blind.any():
            best = np.where(is_free_color_blind, difference(candidates[0], labs[0]), np.inf).argmin()
        elif is_free.any():
            best = np.where(is_free, self._room[1:].min(axis=0), -np.inf).argmax()
        else:
            best = self._room[0].argmax()
        return colors[int(best)], candidates[:, int(best)][:, None]


@cache
def _candidates() -> tuple[list[Rgb], Labs]:
    """Return the replacement colors and their appearance to each kind of vision, of shape (4, count, 3)."""
    levels = np.linspace(0, 255, GRID).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = srgb_to_lab(grid)
    lightest_dark, darkest_light = GRID_LIGHTNESS
    grid = grid[
        (lab[:, 0] >= lightest_dark)
        & (lab[:, 0] <= darkest_light)
        & (np.hypot(lab[:, 1], lab[:, 2]) >= GRID_CHROMA)
    ]
    return [_as_rgb(color) for color in grid], vision_labs(grid)


@lru_cache(maxsize=1024)
def _variations(color: Rgb, others: tuple[Rgb, ...], count: int) -> tuple[Rgb, ...]:
    """Return up to `count` colors of instances: each is the one most distant from those before it."""
    if count == 1:
        return (color,)
    own = srgb_to_lab(np.array(color, dtype=np.float64))
    candidates = lab_to_srgb(_steps_from(own)).round()
    labs = srgb_to_lab(candidates)
    from_own = difference(labs, own)
    is_allowed = from_own <= INSTANCE_RADIUS
    if others:
        from_others = difference(labs[:, None], srgb_to_lab(np.array(others, dtype=np.float64))).min(axis=1)
        is_allowed &= from_own <= INSTANCE_MARGIN * from_others
    room = np.where(is_allowed, from_own, -np.inf)
    found = [color]
    while len(found) < count and room.max() >= INSTANCES_APART:
        best = int(room.argmax())
        found.append(_as_rgb(candidates[best]))
        room = np.minimum(room, difference(labs, labs[best]))
    return tuple(found)


def _steps_from(lab: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "candidate 3"]:
    """Return CIELAB colors around a color."""
    chroma = float(np.hypot(lab[1], lab[2]))
    outward = lab[1:] / chroma if chroma > 1 else np.array([1.0, 0.0])
    along_hue = np.array([-outward[1], outward[0]])
    grid = np.meshgrid(*(np.array(steps, dtype=np.float64) for steps in INSTANCE_STEPS.values()))
    lightness, hue, radius = (steps.reshape(-1, 1) for steps in grid)
    # CIEDE2000 divides distances along the hue and along the chroma by about these factors.
    ab = hue * (1 + 0.015 * chroma) * along_hue + radius * (1 + 0.045 * chroma) * outward
    return np.concatenate([(lab[0] + lightness).clip(15, 97), lab[1:] + ab], axis=1)


@lru_cache(maxsize=4096)
def _preset_color(names: tuple[str, ...]) -> Rgb | None:
    """Return the color of the first name that a preset with colors contains."""
    known = _preset_colors()
    return next((known[key] for name in names if (key := match_key(name)) in known), None)


@cache
def _preset_colors() -> dict[str, Rgb]:
    """Return the colors of the presets by name: first names of all presets, then their synonyms."""
    categories = [category for preset in COLOR_PRESETS for category in preset_categories(preset)]
    colors: dict[str, Rgb] = {}
    for names in ([c.names[:1] for c in categories], [c.names[1:] for c in categories]):
        for category, some in zip(categories, names, strict=True):
            for name in some:
                if category.color is not None:
                    colors.setdefault(match_key(name), category.color)
    return colors


def _name_color(name: str) -> Rgb:
    """Return a color derived from a name; equal names have equal colors on all machines."""
    digest = hashlib.sha256(name.casefold().encode(errors="surrogatepass")).digest()
    hue = int.from_bytes(digest[:4]) / 2**32
    lightness = (0.42, 0.52, 0.62)[digest[4] % 3]
    saturation = (0.6, 0.75, 0.9)[digest[5] % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


def _as_rgb(color: Float[np.ndarray, " 3"]) -> Rgb:
    red, green, blue = (round(float(value)) for value in color)
    return red, green, blue
