"""Find images by file names, folders and glob patterns, and report what was left out."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ovrcoat.data.images import is_url
from ovrcoat.errors import ImageError
from ovrcoat.system.paths import exists, expand_user, is_file, is_folder, printable, resolve

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif"),
    *(".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2"),
)
# Reasons for leaving out a file, besides its suffix.
NO_SUFFIX = "without suffix"
BROKEN_LINK = "broken link"
MACOS_METADATA = "macOS '._' file"
HIDDEN = "hidden file"
SPECIAL_FILE = "not a regular file"
SUBFOLDER = "subfolder"
UNREADABLE_FOLDER = "folder without permission"
_EXAMPLES = 3

Sources = str | PathLike[str] | Iterable[str | PathLike[str]]


@dataclass(frozen=True, slots=True)
class ImageSearch:
    """What `search_images` found.

    Attributes:
        images: Paths in the order of the sources; the images of one folder or pattern are sorted.
        left_out: Files and folders that the sources contain but that are not read, by reason: a suffix that
            is not in `SUFFIXES`, such as ".heic", or one of the reasons above.
        failed: Sources that contain no image or cannot be read, with the error message.
    """

    images: tuple[Path, ...]
    left_out: Mapping[str, tuple[Path, ...]]
    failed: Mapping[str, str]

    def summary(self) -> str:
        """Return one line that says what was left out and why; "" if nothing was."""
        if not self.left_out:
            return ""
        count = sum(map(len, self.left_out.values()))
        parts = [f"{len(paths)} {reason} ({_examples(paths)})" for reason, paths in self.left_out.items()]
        advice = (
            ["convert other formats to JPEG or PNG"] if any(r.startswith(".") for r in self.left_out) else []
        )
        if NO_SUFFIX in self.left_out:
            advice.append("give files without a usual suffix by name")
        if SUBFOLDER in self.left_out:
            advice.append("use 'FOLDER/**' to include subfolders")
        return f"left out {count} files or folders: {', '.join(parts)}" + (
            f"; {', '.join(advice)}" if advice else ""
        )


def find_images(sources: Sources) -> tuple[Path, ...]:
    """Find images by file names, folders and glob patterns, without duplicates.

    Args:
        sources: One or several files, folders or patterns. A folder stands for the images directly in it; use
            `folder/**` to include subfolders. Folders and patterns match only the suffixes in `SUFFIXES`.

    Returns:
        Paths in the order of `sources`; the images of one folder or pattern are sorted. Single files are
        returned even if they do not exist. Reading them reports the error without losing the other images.

    Raises:
        ImageError: A folder or a pattern contains no image or cannot be read, or `sources` is empty. Use
            `search_images` to get the images of the other sources, and to learn what was left out.
    """
    search = search_images(sources)
    if search.failed:
        raise ImageError(next(iter(search.failed.values())))
    return search.images


def search_images(sources: Sources) -> ImageSearch:
    """Find images like `find_images`; a source that fails does not affect the others.

    Args:
        sources: As for `find_images`.

    Returns:
        The images, what was left out, and the sources that failed.

    Raises:
        ImageError: `sources` is empty.
    """
    if isinstance(sources, str | PathLike):
        sources = (sources,)
    found: dict[Path, Path] = {}  # by resolved path, so that an image with two names is returned once
    left_out: dict[str, dict[Path, None]] = {}
    failed: dict[str, str] = {}
    for source in sources:
        try:
            images, others = _expand(str(source))
        except ImageError as error:
            failed[str(source)] = str(error)
            continue
        for path in images:
            found.setdefault(resolve(path), path)
        for reason, path in others:
            left_out.setdefault(reason, {})[path] = None
    if not found and not failed:
        raise ImageError("no image was given: give files, folders or patterns such as 'photos/*.jpg'")
    return ImageSearch(
        tuple(found.values()), {reason: tuple(paths) for reason, paths in left_out.items()}, failed
    )


def _expand(source: str) -> tuple[list[Path], list[tuple[str, Path]]]:
    """Expand a folder, a pattern, or a single file: images, and what was left out with the reason.

    Raises:
        ImageError: There is no image, or the folder cannot be read.
    """
    if is_url(source):
        return [Path(source)], []  # reading it raises an error
    path = expand_user(source)
    if is_folder(path):
        kind, entries = "folder", _list_folder(path, source)
    elif glob.has_magic(source) and not os.path.lexists(path):
        kind, entries = "pattern", _matches(str(path), source)
    else:
        return [path], []
    reasons = [(_reason(entry, in_folder=kind == "folder"), entry) for entry in sorted(entries)]
    images = [entry for reason, entry in reasons if reason == ""]
    left_out = [(reason, entry) for reason, entry in reasons if reason]
    if not images:
        others: dict[str, dict[Path, None]] = {}
        for reason, entry in left_out:
            others.setdefault(reason, {})[entry] = None
        summary = ImageSearch((), {reason: tuple(paths) for reason, paths in others.items()}, {}).summary()
        raise ImageError(
            f"{printable(source)}: no image found in this {kind}; looked for names ending in "
            f"{' '.join(SUFFIXES)}" + (f" ({summary})" if summary else "")
        )
    return images, left_out


def _list_folder(folder: Path, source: str) -> Iterator[Path]:
    try:
        return iter([folder / name for name in os.listdir(folder)])  # noqa: PTH208 - Path.iterdir is lazy
    except OSError as error:
        raise ImageError(
            f"{printable(source)}: the folder cannot be read ({error.strerror or error}); check its "
            "permissions"
        ) from error


def _matches(pattern: str, source: str) -> Iterator[Path]:
    """Expand a pattern. Unlike Path.glob, glob.glob accepts absolute patterns and skips hidden files."""
    try:
        return (Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"{printable(source)}: the pattern cannot be used ({error}); check it") from error


def _reason(entry: Path, *, in_folder: bool) -> str | None:
    """Return why an entry is left out; "" for an image, None for what nobody expects to be one."""
    name, suffix = entry.name, entry.suffix.lower()
    if is_folder(entry):
        if not os.access(entry, os.R_OK | os.X_OK):
            return UNREADABLE_FOLDER
        return SUBFOLDER if in_folder and not name.startswith(".") else None
    if name.startswith("."):
        hidden = MACOS_METADATA if name.startswith("._") else HIDDEN
        return hidden if suffix in SUFFIXES else None
    if suffix not in SUFFIXES and exists(entry):
        return suffix or NO_SUFFIX
    if is_file(entry):
        return ""
    return SPECIAL_FILE if exists(entry) else BROKEN_LINK


def _examples(paths: tuple[Path, ...]) -> str:
    shown = ", ".join(printable(path.name) for path in paths[:_EXAMPLES])
    return f"{shown}, …" if len(paths) > _EXAMPLES else shown
