"""The one reader and writer of JSON files: limits, UTF-8, expected type, atomic writes."""

import json
from pathlib import Path
from typing import Any

from ovrcoat.errors import DatasetError, OvrcoatError
from ovrcoat.system.atomic_write import write_output
from ovrcoat.system.documents import DocumentError, parse_json
from ovrcoat.system.input_files import JSON, SizeLimit, read_input
from ovrcoat.system.paths import printable

OBJECT = "a JSON object"
LIST = "a JSON list"


def read_json(
    path: Path,
    *,
    expected: str = "",
    error_class: type[OvrcoatError] = DatasetError,
    limit: SizeLimit | None = None,
) -> Any:
    """Read a JSON file; a UTF-8 byte order mark is accepted.

    Args:
        path: The file.
        expected: Description of the content for error messages, for example "COCO's panoptic format".
        error_class: Exception class to raise.
        limit: Larger files are rejected without being read. Default: `input_files.JSON`.

    Raises:
        OvrcoatError: The file cannot be read, is too large, is not valid JSON or, for the functions that
            require it, holds no object or list. The exception has the class `error_class`.
    """
    location = printable(path)
    try:
        content = read_input(path, limit or JSON)
    except OSError as error:
        reason = error.strerror or error
        raise error_class(f"cannot read {location} ({reason}){_comma(expected)}; check the path") from error
    return _parse(content, location=location, expected=expected, error_class=error_class)


def read_json_object(
    path: Path,
    *,
    expected: str = OBJECT,
    error_class: type[OvrcoatError] = DatasetError,
    limit: SizeLimit | None = None,
) -> dict[str, Any]:
    """Read a JSON file that holds an object; arguments and errors as for `read_json`."""
    data = read_json(path, expected=expected, error_class=error_class, limit=limit)
    if not isinstance(data, dict):
        raise _wrong_type(data, location=printable(path), expected=expected, error_class=error_class)
    return data


def read_json_list(
    path: Path,
    *,
    expected: str = LIST,
    error_class: type[OvrcoatError] = DatasetError,
    limit: SizeLimit | None = None,
) -> list[Any]:
    """Read a JSON file that holds a list; arguments and errors as for `read_json`."""
    data = read_json(path, expected=expected, error_class=error_class, limit=limit)
    if not isinstance(data, list):
        raise _wrong_type(data, location=printable(path), expected=expected, error_class=error_class)
    return data


def parse_json_object(
    content: bytes, *, location: str, expected: str = OBJECT, error_class: type[OvrcoatError] = DatasetError
) -> dict[str, Any]:
    """Parse the content of a JSON file that holds an object; a UTF-8 byte order mark is accepted.

    Args:
        content: Bytes of the file.
        location: Where the content comes from, for error messages.
        expected: Description of the content for error messages.
        error_class: Exception class to raise.

    Raises:
        OvrcoatError: The content is not valid JSON or holds no object. The exception has the class
            `error_class`.
    """
    data = _parse(content, location=location, expected=expected, error_class=error_class)
    if not isinstance(data, dict):
        raise _wrong_type(data, location=location, expected=expected, error_class=error_class)
    return data


def json_bytes(document: object, *, indent: int | None = 2) -> bytes:
    """Encode a document as UTF-8 JSON that ends with a newline.

    Raises:
        ValueError: The document holds NaN or infinity, which JSON does not allow.
    """
    return encode_json(json.dumps(document, indent=indent, allow_nan=False, ensure_ascii=False) + "\n")


def encode_json(text: str) -> bytes:
    """Encode JSON text as UTF-8.

    File names that are not UTF-8 hold lone surrogates, which UTF-8 cannot represent. They become the escape
    sequences of JSON (`\\udce9`), so reading the document returns the same name.
    """
    return text.encode("utf-8", "backslashreplace")


def write_json(path: Path, document: object, *, overwrite: bool = False) -> None:
    """Write a JSON file atomically: it appears complete or not at all.

    Args:
        path: The file. An existing one is replaced if this package wrote it.
        document: Its first key should be "ovrcoat" or "format" with a value that starts with "ovrcoat": these
            identify files of this package.
        overwrite: Replace any file.

    Raises:
        OutputError: The file cannot be written, or a file of another program would be replaced.
        ValueError: The document holds NaN or infinity.
    """
    content = json_bytes(document)
    write_output(path, lambda file: file.write(content), overwrite=overwrite)


def _parse(content: bytes, *, location: str, expected: str, error_class: type[OvrcoatError]) -> Any:
    try:
        return parse_json(content)
    except DocumentError as error:
        raise error_class(
            f"{location} is not valid JSON ({error}){_comma(expected)}; it may be truncated: copy or "
            "download it again"
        ) from error


def _comma(expected: str) -> str:
    return f", expected {expected}" if expected else ""


def _wrong_type(
    data: object, *, location: str, expected: str, error_class: type[OvrcoatError]
) -> OvrcoatError:
    return error_class(f"{location} holds a JSON {type(data).__name__}, expected {expected}; check the path")
