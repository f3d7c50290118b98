"""Fonts for the names in overlays: Pillow's built-in font, and installed fonts for what it lacks.

Pillow's built-in font (Aileron) has 116 glyphs: not even the accented letters of Western Europe. Fonts are
looked up only if a name needs them. A character that no font can draw never becomes an empty box: the name is
replaced and a warning lists the characters.
"""

import os
import stat
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias, cast

from PIL import ImageDraw, ImageFont, features

Font: TypeAlias = ImageFont.FreeTypeFont
Ink = tuple[int, int, int]

SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
MAX_FONT_FILES = 5000
MAX_NAME_LENGTH = 48  # characters; longer names end with "..."
PROBE_SIZE = 16  # pixels, for testing whether a font has a glyph
UNASSIGNED = "\U0010ffff"  # never a character: fonts draw their "missing" glyph for it
# Shown where possible: fonts for running text. A font whose file name contains one of these words comes last.
ODD_STYLES = ("bold", "italic", "oblique", "black", "light", "thin", "mono", "serif", "condensed", "math")
# The glyphs of the first are boxes, those of the second bitmaps of one size, those of the others symbols.
UNUSABLE = ("lastresort", "emoji", "dings", "cmex", "cmsy", "cmmi", "cmr10", "stixsiz", "stixnonuni")

_warned: set[str] = set()


@lru_cache(maxsize=64)
def default_font(size: int) -> Font:
    """Return Pillow's built-in font."""
    return cast("Font", ImageFont.load_default(size))  # always of this type if a size is given


def shown_name(names: Sequence[str], *, id: int) -> str:
    """Return the name of a category that is drawn: the first name for which there are fonts.

    If the first name cannot be drawn, a `UserWarning` names the missing characters, once per character. The
    replacement is the next name, the name without accents, or "class" and the id.
    """
    cleaned = [_clean(name) for name in names]
    missing = _missing(cleaned[0])
    if cleaned[0] and not missing:
        return cleaned[0]
    plain = "".join(c for c in unicodedata.normalize("NFKD", cleaned[0]) if not unicodedata.combining(c))
    options = (*cleaned[1:], plain)
    shown = next((name for name in options if name and not _missing(name)), f"class {id}")
    _warn(cleaned[0], missing, shown=shown)
    return shown


@dataclass(frozen=True, slots=True)
class Text:
    """A text at a size, ready to be drawn.

    Attributes:
        runs: characters and the font that draws them, from left to right.
        width: in pixels.
        height: of the ink, in pixels.
    """

    runs: tuple[tuple[str, Font], ...]
    width: float
    height: float

    def draw(self, pen: ImageDraw.ImageDraw, x: float, y: float, *, fill: Ink) -> None:
        """Draw the text; it starts at `x`, and `y` is the middle of its height."""
        ascent, descent = map(max, zip(*(font.getmetrics() for _, font in self.runs), strict=True))
        for characters, font in self.runs:
            pen.text((x, y + (ascent - descent) / 2), characters, font=font, fill=fill, anchor="ls")
            x += font.getlength(characters)


@lru_cache(maxsize=1024)
def typeset(text: str, size: int) -> Text:
    """Choose the fonts for a text that is not empty: one for all of it where possible."""
    runs: list[tuple[str, Path | None]] = []
    for character, path in zip(text, _fonts_of(text), strict=True):
        if runs and runs[-1][1] == path:
            runs[-1] = (runs[-1][0] + character, path)
        else:
            runs.append((character, path))
    with_fonts = tuple((characters, _font(path, size)) for characters, path in runs)
    boxes = [font.getbbox(characters) for characters, font in with_fonts]
    if len(boxes) == 1:
        left, top, right, bottom = boxes[0]
        return Text(with_fonts, float(right - left), float(bottom - top))
    width = sum(font.getlength(characters) for characters, font in with_fonts)
    return Text(with_fonts, float(width), float(max(bottom - top for _, top, _, bottom in boxes)))


def _clean(name: str) -> str:
    """Return a name on one line, shortened, without control characters."""
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cs"))
    return name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 3].rstrip() + "..."


def _missing(text: str) -> str:
    """Return the characters of a text that no font can draw."""
    return "".join(dict.fromkeys(c for c in text if not _is_plain(c) and not _can_draw(c)))


def _warn(name: str, missing: str, *, shown: str) -> None:
    new = [character for character in missing if character not in _warned]
    if not new:
        return
    _warned.update(new)
    listed = ", ".join(f"{character} (U+{ord(character):04X})" for character in new[:10])
    more = f" and {len(new) - 10} more" if len(new) > 10 else ""
    warnings.warn(
        f"the overlay shows {shown!r} instead of {name!r}: no installed font has the characters "
        f"{listed}{more}. Install a font for this script, for example one of the Noto fonts",
        UserWarning,
        stacklevel=2,
    )


@lru_cache(maxsize=4096)
def _fonts_of(text: str) -> tuple[Path | None, ...]:
    """Return the file of the font of each character; None is the built-in font.

    A single font for the whole text is preferred, because letters of one word then match.
    """
    if all(map(_is_plain, text)) or all(_has_glyph(None, c) for c in text):
        return (None,) * len(text)
    if not _missing(text):
        for path in _font_files():
            if all(_has_glyph(path, c) for c in text):
                return (path,) * len(text)
    return tuple(_first_font(c) for c in text)


def _can_draw(character: str) -> bool:
    """Return whether a font has the character, and Pillow can arrange it."""
    if not _has_layout() and _needs_layout(character):
        return False
    return _has_glyph(None, character) or _first_font(character) is not None


@lru_cache(maxsize=16384)
def _first_font(character: str) -> Path | None:
    """Return the best installed font for a character; None: the built-in font, which may lack it too."""
    if _has_glyph(None, character):
        return None
    return next((path for path in _font_files() if _has_glyph(path, character)), None)


def _is_plain(character: str) -> bool:
    return " " <= character <= "~"


@cache
def _has_layout() -> bool:
    """Return whether Pillow can arrange right-to-left and combining scripts."""
    return bool(features.check("raqm"))


def _needs_layout(character: str) -> bool:
    category = unicodedata.category(character)
    return unicodedata.bidirectional(character) in ("R", "AL") or category in ("Mn", "Mc")


@lru_cache(maxsize=65536)
def _has_glyph(path: Path | None, character: str) -> bool:
    """Return whether a font draws a character with a glyph of its own."""
    if unicodedata.category(character) in ("Cf", "Zs"):
        return True  # joiners and spaces have no ink
    font = _probe(path)
    if font is None:
        return False
    try:
        return _ink(font, character) not in (_ink(font, UNASSIGNED), b"")
    except (OSError, ValueError):  # a damaged glyph; a lone surrogate
        return False


def _ink(font: Font, character: str) -> bytes:
    mask = font.getmask(character)
    return bytes(mask) if mask.size[0] and mask.size[1] else b""


@lru_cache(maxsize=512)
def _probe(path: Path | None) -> Font | None:
    """Return a font for testing glyphs, or None if the file is not usable."""
    if path is None:
        return default_font(PROBE_SIZE)
    try:
        return ImageFont.truetype(path, PROBE_SIZE, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _font(path: Path | None, size: int) -> Font:
    return default_font(size) if path is None else ImageFont.truetype(path, size)


@cache
def _font_files() -> tuple[Path, ...]:
    """Return the installed fonts, ordinary styles first, in the same order on every call."""
    found: list[Path] = []
    for folder in _font_folders():
        for path in _regular_files(folder):
            found.append(path)
            if len(found) == MAX_FONT_FILES:
                break
    return tuple(sorted(dict.fromkeys(found), key=_preference))


def _preference(path: Path) -> tuple[int, bool, str, str]:
    stem = path.stem.casefold()
    oddity = sum(word in stem.replace("sansserif", "") for word in ODD_STYLES)
    return oddity, "sans" not in stem, stem, str(path)


def _regular_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):  # unreadable folders are skipped, links are not followed
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            lower = name.casefold()
            is_wanted = lower.endswith(SUFFIXES) and not any(word in lower for word in UNUSABLE)
            if is_wanted and _is_regular(path):
                yield path


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _font_folders() -> list[Path]:
    """Return the folders in which systems and users install fonts, and Matplotlib's fonts if it is there."""
    environment = os.environ
    folders = [
        *("/usr/share/fonts", "/usr/local/share/fonts", "/run/host/fonts"),
        *(f"{root}/fonts" for root in environment.get("XDG_DATA_DIRS", "").split(":") if root),
        *("~/.local/share/fonts", "~/.fonts", "/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
        *(f"{sys.prefix}/{folder}" for folder in ("fonts", "share/fonts")),
    ]
    if "XDG_DATA_HOME" in environment:
        folders.append(environment["XDG_DATA_HOME"] + "/fonts")
    if "WINDIR" in environment:
        folders.append(environment["WINDIR"] + "/Fonts")
    if "LOCALAPPDATA" in environment:
        folders.append(environment["LOCALAPPDATA"] + "/Microsoft/Windows/Fonts")
    expanded = [_expand(Path(folder)) for folder in folders]
    matplotlib = find_spec("matplotlib")  # looked up, not imported; it brings DejaVu Sans
    if matplotlib is not None and matplotlib.origin is not None:
        expanded.append(Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf")
    return [folder for folder in expanded if folder.is_absolute()]


def _expand(folder: Path) -> Path:
    try:
        return folder.expanduser()
    except RuntimeError:  # this process has no home folder
        return folder
