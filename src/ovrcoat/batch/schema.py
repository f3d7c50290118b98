"""Columns of the Parquet files of a batch run. Segments are typed columns, so that queries can use them."""

from collections.abc import Sequence
from typing import Any

from ovrcoat.system.optional_imports import import_optional


def image_schema() -> Any:
    """Return the columns of DEST/images, a `pyarrow.Schema`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pa = import_optional("pyarrow", extra="batch")
    segment = pa.struct(
        [
            ("id", pa.int32()),
            ("category_id", pa.int64()),
            ("category", pa.string()),
            ("is_thing", pa.bool_()),
            ("score", pa.float64()),
            ("objectness", pa.float64()),
            ("objectness_before", pa.float64()),
            ("clip_confidence", pa.float64()),
            ("area", pa.int64()),
            ("bbox", pa.list_(pa.int32())),
            ("top", pa.list_(pa.struct([("category", pa.string()), ("probability", pa.float64())]))),
            ("segmentation", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
            ("embedding", pa.list_(pa.float32())),
        ]
    )
    return pa.schema(
        [
            ("id", pa.string()),
            ("path", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("segments", pa.list_(segment)),
            ("notes", pa.list_(pa.string())),
            ("png", pa.binary()),
            ("model", pa.string()),
            ("vocabulary", pa.string()),
        ]
    )


def quarantine_schema() -> Any:
    """Return the columns of DEST/quarantine, a `pyarrow.Schema`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pa = import_optional("pyarrow", extra="batch")
    return pa.schema([("id", pa.string()), ("path", pa.string()), ("reason", pa.string())])


def item_schema() -> Any:
    """Return the columns of a list of items, a `pyarrow.Schema`; see `Item`.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pa = import_optional("pyarrow", extra="batch")
    return pa.schema(
        [
            ("id", pa.string()),
            ("path", pa.string()),
            ("container", pa.string()),
            ("offset", pa.int64()),
            ("nbytes", pa.int64()),
            ("problem", pa.string()),
        ]
    )


def parquet_bytes(rows: Sequence[dict[str, Any]], schema: Any) -> Any:
    """Return rows as the contents of a Parquet file, a buffer.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    pa = import_optional("pyarrow", extra="batch")
    parquet = import_optional("pyarrow.parquet", extra="batch")
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="zstd")
    return sink.getvalue()
