"""Reader of vocabulary files: .txt, .json and .yaml."""

import json
import re
from pathlib import Path

import yaml

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.entries import Entry, parse_entries, parse_entry
from ovrcoat.vocabulary.records import read_entries

# Bytes. Vocabularies take kilobytes, but a .json may be a COCO panoptic file with thousands of annotations.
SIZE_LIMITS = {".txt": 1 << 20, ".yaml": 1 << 20, ".yml": 1 << 20, ".json": 32 << 20}
PLACEHOLDER = "invalid_class_id"  # marks unused ids in the files of the published protocol
NUMBERED_LINE = re.compile(r"\s*(\d{1,9})\s*:(.*)", re.ASCII)


def read_file(path: Path) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Read the categories and the background classes of a file. Only .json and .yaml have background classes.

    Raises:
        VocabularyError: the file type is unknown, or the file cannot be read, is too large or is malformed.
    """
    suffix = path.suffix.lower()
    if suffix not in SIZE_LIMITS:
        raise VocabularyError(
            f"{path}: this vocabulary file ends in {suffix or 'nothing'!r}, expected one of "
            f"{', '.join(SIZE_LIMITS)}; rename or convert it"
        )
    text = _read_text(path, limit=SIZE_LIMITS[suffix])
    if suffix == ".txt":
        try:
            return _parse_lines(text), ()
        except VocabularyError as error:
            raise VocabularyError(f"{path}: {error}") from error
    try:
        data = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise VocabularyError(f"{path}: this file is not valid {suffix[1:].upper()}: {error}") from error
    return read_entries(data, origin=str(path))


def _read_text(path: Path, *, limit: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise VocabularyError(
            f"{path}: this vocabulary file cannot be read ({reason}). "
            f"A vocabulary that ends in {', '.join(SIZE_LIMITS)} is treated as the path of a file"
        ) from error
    if len(content) > limit:
        raise VocabularyError(
            f"{path}: this file is larger than {limit >> 20} MiB; keep only the list of categories"
        )
    try:
        return content.decode("utf-8-sig")  # Windows editors prepend a byte order mark
    except UnicodeDecodeError as error:
        raise VocabularyError(f"{path}: this file is not UTF-8 text; save it as UTF-8") from error


def _parse_lines(text: str) -> tuple[Entry, ...]:
    """Parse one category per line. Lines that start with "#" are comments.

    A line may start with an id and a colon. The ids are used only if every line has one.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    numbered = [match for line in lines if (match := NUMBERED_LINE.fullmatch(line))]
    if len(numbered) < len(lines):
        return parse_entries("\n".join(lines))
    return tuple(
        parse_entry(match[2], id=int(match[1])) for match in numbered if match[2].strip() != PLACEHOLDER
    )
