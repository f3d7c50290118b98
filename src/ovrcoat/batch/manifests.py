"""Lists of images: text files, JSON-lines files and Parquet files with one image per line or row."""

import os
from collections.abc import Iterator
from typing import Any

from ovrcoat.batch.item import Item
from ovrcoat.batch.storage import describe, is_remote, open_binary
from ovrcoat.errors import DatasetError, OvrcoatError
from ovrcoat.system.documents import DocumentError, parse_json
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.system.paths import printable

TEXT_SUFFIXES = (".txt", ".lst")
JSON_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIXES = (".parquet",)
_MAX_LINE = 1 << 20


def list_manifest(path: str, *, folder: str) -> Iterator[Item]:
    """Yield the images of a manifest in its order.

    Args:
        path: absolute path or URL of the manifest. A text file has one path per line. JSON objects and
            Parquet rows have `path` and, optionally, `id`; other keys and columns are ignored. Without an id,
            the path is the id.
        folder: relative paths start here.

    Raises:
        DatasetError: the manifest cannot be read; the message names the line or the column.
        MissingExtraError: pyarrow or fsspec is needed and not installed.
    """
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122 - the path may be a URL
    try:
        if suffix in PARQUET_SUFFIXES:
            entries = _parquet_entries(path)
        else:
            entries = _line_entries(path, as_json=suffix in JSON_SUFFIXES)
        for place, image, id in entries:
            if not isinstance(image, str) or not image.strip():
                raise DatasetError(f"{printable(path)}: {place}: path is {image!r:.60}, expected a text")
            if not (id is None or isinstance(id, str | int)) or id == "" or isinstance(id, bool):
                raise DatasetError(f"{printable(path)}: {place}: id is {id!r:.60}, expected a text or number")
            yield Item(id=image if id is None else str(id), path=absolute(image, folder=folder))
    except OvrcoatError:
        raise
    except Exception as error:  # of fsspec's file systems, of pyarrow, or of a text encoding
        raise DatasetError(f"{printable(path)}: this list cannot be read ({describe(error)})") from error


def absolute(path: str, *, folder: str) -> str:
    """Return a path of a manifest as an absolute path or URL."""
    if is_remote(path):
        return path
    if is_remote(folder):
        return f"{folder.rstrip('/')}/{path}"
    return os.path.abspath(os.path.join(folder, path))  # noqa: PTH100, PTH118 - Path resolves no ".."


def _line_entries(path: str, *, as_json: bool) -> Iterator[tuple[str, Any, Any]]:
    with open_binary(path) as file:
        number = 0
        while line := file.readline(_MAX_LINE):
            number += 1
            place = f"line {number}"
            if len(line) == _MAX_LINE:
                raise DatasetError(f"{printable(path)}: {place}: longer than {_MAX_LINE:,} bytes")
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
            if not text.strip():
                continue
            if not as_json:
                yield place, text, None
                continue
            try:
                entry = parse_json(text)
            except DocumentError as error:
                raise DatasetError(f"{printable(path)}: {place}: not valid JSON ({error})") from error
            if not isinstance(entry, dict):
                raise DatasetError(f'{printable(path)}: {place}: expected an object such as {{"path": …}}')
            yield place, entry.get("path"), entry.get("id")


def _parquet_entries(path: str) -> Iterator[tuple[str, Any, Any]]:
    parquet = import_optional("pyarrow.parquet", extra="batch")
    with open_binary(path) as file, parquet.ParquetFile(file) as table:
        names = table.schema_arrow.names
        if "path" not in names:
            raise DatasetError(
                f"{printable(path)}: there is no column path, but {', '.join(names[:10])}; rename the column"
            )
        columns = [name for name in ("path", "id") if name in names]
        row = 0
        for batch in table.iter_batches(batch_size=10_000, columns=columns):
            for entry in batch.to_pylist():
                yield f"row {row}", entry["path"], entry.get("id")
                row += 1
