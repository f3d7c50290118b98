"""Reader of vocabulary files: text, CSV, JSON and YAML, in our form and in those of other tools."""

import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ovrcoat.errors import VocabularyError
from ovrcoat.system.documents import DocumentError, parse_json, parse_yaml
from ovrcoat.system.input_files import VOCABULARY, VOCABULARY_JSON, SizeLimit, read_input
from ovrcoat.system.paths import printable
from ovrcoat.vocabulary.entries import Entry, check_count, parse_entries, parse_entry
from ovrcoat.vocabulary.foreign import root_categories, standard_form
from ovrcoat.vocabulary.records import read_entries
from ovrcoat.vocabulary.tables import parse_table

# Vocabularies take kilobytes, but a .json may be a COCO panoptic file with thousands of annotations.
SIZE_LIMITS = {
    **dict.fromkeys((".txt", ".names", ".csv", ".tsv", ".yaml", ".yml"), VOCABULARY),
    ".json": VOCABULARY_JSON,
}
TABLE_SUFFIXES = (".csv", ".tsv")
PLACEHOLDER = "invalid_class_id"  # marks unused ids in the files of the published protocol
NUMBERED_LINE = re.compile(r"\s*(\d{1,9})\s*:(.*)", re.ASCII)
SPACED_LINE = re.compile(r"\s*(\d{1,9})\s+(.*)", re.ASCII)  # "3 cat"
LABELMAP_LINE = re.compile(
    r"([^:]+):(?:(\d{1,3}),(\d{1,3}),(\d{1,3}))?:[^:]*:[^:]*", re.ASCII
)  # CVAT, Datumaro
# Labels of pixels without a class, in labelme.
NO_CLASS = ("__ignore__", "_background_")


@dataclass(frozen=True, slots=True)
class VocabularyFile:
    """Content of a vocabulary file.

    Attributes:
        categories: the categories.
        background: the background classes. Only .json and .yaml files have them.
        skipped: names that stand for no class, for example labelme's "__ignore__"; they were left out.
    """

    categories: tuple[Entry, ...]
    background: tuple[Entry, ...] = ()
    skipped: tuple[str, ...] = ()


def is_vocabulary_path(text: str) -> bool:
    """Return whether text is the path of a vocabulary file, or of any existing file or folder."""
    text = text.strip()
    if not text or ";" in text or "\n" in text:
        return False
    if text.lower().endswith(tuple(SIZE_LIMITS)):
        return True
    return os.path.exists(text)  # noqa: PTH110 - Path.exists raises for text that is no path


def read_file(path: Path) -> VocabularyFile:
    """Read a vocabulary file. A file without a suffix is read as text.

    Raises:
        VocabularyError: the file type is unknown, or the file cannot be read, is too large or is malformed.
    """
    suffix = path.suffix.lower()
    if os.path.isdir(path):  # noqa: PTH112 - as above
        raise VocabularyError(
            f"{path}: this is a folder, expected a vocabulary file or class names; give a file in it. "
            f"To use the name of an existing file or folder as a class name, end it with ';': '{path};'"
        )
    if suffix and suffix not in SIZE_LIMITS:
        raise VocabularyError(
            f"{path}: this vocabulary file ends in {suffix!r}, expected one of {', '.join(SIZE_LIMITS)}; "
            "rename or convert it"
        )
    text = _read_text(path, limit=SIZE_LIMITS.get(suffix, SIZE_LIMITS[".txt"]))
    try:
        if suffix in TABLE_SUFFIXES:
            return _without_no_class(parse_table(text))
        if suffix not in (".json", ".yaml", ".yml"):
            entries = _parse_lines(text)
            # only label maps of CVAT have colors; black "background" is their label of pixels without a class
            also = [e.names[0] for e in entries if e.names[0] == "background" and e.color == (0, 0, 0)]
            return _without_no_class(entries, also=also)
    except VocabularyError as error:
        raise VocabularyError(f"{path}: {error}") from error
    try:
        data = parse_json(text) if suffix == ".json" else parse_yaml(text)
    except DocumentError as error:
        raise VocabularyError(f"{path}: this file is not valid {suffix[1:].upper()}: {error}") from error
    categories, background = read_entries(standard_form(data), origin=str(path))
    return _without_no_class(categories, background, also=root_categories(data))


def _without_no_class(
    categories: tuple[Entry, ...], background: tuple[Entry, ...] = (), *, also: Sequence[str] = ()
) -> VocabularyFile:
    left_out = {*NO_CLASS, *also}
    skipped = tuple(entry.names[0] for entry in categories if entry.names[0] in left_out)
    return VocabularyFile(
        tuple(entry for entry in categories if entry.names[0] not in left_out), background, skipped
    )


def _read_text(path: Path, *, limit: SizeLimit) -> str:
    try:
        content = read_input(path, limit)
    except OSError as error:
        raise VocabularyError(
            f"{printable(path)}: this vocabulary file cannot be read ({error.strerror or error}). "
            f"A vocabulary that ends in {', '.join(SIZE_LIMITS)} is treated as the path of a file"
        ) from error
    try:
        # Windows editors prepend a byte order mark, and some save UTF-16
        return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise VocabularyError(f"{path}: this file is not UTF-8 text; save it as UTF-8") from error


def _parse_lines(text: str) -> tuple[Entry, ...]:
    """Parse one category per line. Lines that start with "#" are comments.

    A line may start with an id and a colon. The ids are used only if every line has one.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    check_count(len(lines))
    if lines and all(map(LABELMAP_LINE.fullmatch, lines)):
        return _parse_labelmap(lines)
    for pattern in (NUMBERED_LINE, SPACED_LINE):
        numbered = [match for line in lines if (match := pattern.fullmatch(line))]
        is_list = pattern is NUMBERED_LINE or len({match[1] for match in numbered}) > 1
        if len(numbered) == len(lines) and is_list:
            return tuple(
                parse_entry(match[2], id=int(match[1]))
                for match in numbered
                if match[2].strip() != PLACEHOLDER
            )
    return parse_entries("\n".join(lines))


def _parse_labelmap(lines: Sequence[str]) -> tuple[Entry, ...]:
    """Parse a label map of CVAT or Datumaro: label:color_rgb:parts:actions."""
    matches = [match for line in lines if (match := LABELMAP_LINE.fullmatch(line))]
    entries = []
    for match in matches:
        color = [int(part) for part in match.groups()[1:] if part is not None]
        is_color = len(color) == 3 and max(color) <= 255
        entry = parse_entry(match[1])
        entries.append(replace(entry, color=(color[0], color[1], color[2])) if is_color else entry)
    return tuple(entries)
