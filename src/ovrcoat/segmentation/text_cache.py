"""Text cache: text embeddings on disk, shared by all processes of a user.

The cache is one SQLite file, which supports several writers at once and interrupted writes. An embedding is
found by the class name and a fingerprint of everything else that it depends on, and is used only if its
checksum is correct and it is a unit vector of the right length. Any failure causes a warning and a new
computation, never a wrong embedding. Number, size and age of the embeddings are limited.
"""

import hashlib
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from os import PathLike
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.system.fingerprints import module_fingerprint
from ovrcoat.system.paths import expand_user, is_file
from ovrcoat.system.user_folders import CACHE_VARIABLE, NO_CACHE, cache_folder

FORMAT_VERSION = 2  # increase it when embeddings are computed differently: older ones are then ignored
FILE_NAME = f"text-rows-{FORMAT_VERSION}.sqlite3"
MAX_EMBEDDINGS = 50_000  # about 160 MB at 768 dimensions; the oldest are deleted first
MAX_BYTES = 256 << 20  # of the file, for longer embeddings and names
MAX_AGE_DAYS = 180  # those of models that are used no more are deleted at last
TIMEOUT = 5.0  # seconds to wait for the write of another process, which takes a few hundredths
CHECKSUM_BYTES = 16
PAGE_BYTES = 16_384  # five embeddings of 768 dimensions per page; SQLite's default of 4 KB holds one
NORM_TOLERANCE = 0.01  # bfloat16 rounds the entries of a unit vector to 0.4 %

# A file with another schema was not written by this class; a view in it could compute without end.
SCHEMA = {
    "rows": (
        "CREATE TABLE rows (key TEXT NOT NULL, name BLOB NOT NULL, row BLOB NOT NULL, "
        "checksum BLOB NOT NULL, written INTEGER NOT NULL, PRIMARY KEY (key, name))"
    ),
    "rows_by_time": "CREATE INDEX rows_by_time ON rows (written)",
}

Outcome = TypeVar("Outcome")


class TextCache:
    """Text embeddings in a folder; may be used by several processes and threads at once.

    Args:
        folder: created when the first embedding is written.
        max_embeddings: number of embeddings to keep, of all models together.
        max_bytes: size of the file to keep below, by deleting the oldest embeddings.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        max_embeddings: int = MAX_EMBEDDINGS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.path = expand_user(folder) / FILE_NAME
        self._max_embeddings = max_embeddings
        self._max_bytes = max_bytes
        self._unusable = False

    def read(self, key: str, names: Iterable[str], *, size: int) -> dict[str, Float[Tensor, " embedding"]]:
        """Return the embeddings of those `names` that are stored under `key`, in float32 on the CPU.

        Args:
            key: from `fingerprint`.
            names: class names.
            size: number of entries of an embedding; one with another length is damaged.
        """
        requested = list(names)
        found: dict[str, Tensor] = {}
        damaged = 0

        def look_up(connection: sqlite3.Connection) -> None:
            nonlocal damaged
            # a value of another length is not even read
            query = (
                "SELECT CASE WHEN length(row) = ? AND length(checksum) = ? THEN row END, checksum "
                "FROM rows WHERE key = ? AND name = ?"
            )
            for name in requested:
                parameters = (4 * size, CHECKSUM_BYTES, key, _encoded(name))
                for row, checksum in connection.execute(query, parameters):
                    if (embedding := _checked(row, checksum, key=key, name=name)) is not None:
                        found[name] = embedding
                    else:
                        damaged += 1

        self._use(look_up, default=None)
        if damaged:
            _warn(f"{damaged} embeddings in {self.path} are damaged; they are computed again")
        return found

    def write(self, key: str, embeddings: Mapping[str, Float[Tensor, " embedding"]]) -> None:
        """Store embeddings under `key`, all or none; existing ones of the same names are replaced.

        More than a quarter of the file's limit at once is not stored.
        """
        rows = []
        now = int(time.time())
        for name, embedding in embeddings.items():
            content = embedding.detach().cpu().numpy().astype("<f4").tobytes()
            rows.append((key, _encoded(name), content, _checksum(key, name, content), now))

        if sum(len(name) + len(row) for _, name, row, _, _ in rows) > self._max_bytes // 4:
            return

        def store(connection: sqlite3.Connection) -> None:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # has an effect on a new file only
            connection.execute("BEGIN IMMEDIATE")  # waits for other writers at the beginning
            if not _schema(connection):
                for statement in SCHEMA.values():
                    connection.execute(statement)
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", rows)
            self._prune(connection, now=now)
            connection.execute("COMMIT")

        self._use(store, default=None, create=True)

    def count(self) -> int:
        """Return the number of stored embeddings, of all models together."""

        def count(connection: sqlite3.Connection) -> int:
            (rows,) = connection.execute("SELECT count(*) FROM rows").fetchone()
            return int(rows)

        return self._use(count, default=0)

    def _prune(self, connection: sqlite3.Connection, *, now: int) -> None:
        """Delete what exceeds the limits, within the transaction of a write."""
        connection.execute("DELETE FROM rows WHERE written < ?", (now - MAX_AGE_DAYS * 86_400,))
        # row ids increase with time
        oldest = "DELETE FROM rows WHERE rowid <= (SELECT max(rowid) FROM rows) - ?"
        connection.execute(oldest, (self._max_embeddings,))
        kept = self._max_embeddings
        while _used_bytes(connection) > self._max_bytes and kept:
            kept //= 2
            connection.execute(oldest, (kept,))

    def _use(
        self, work: Callable[[sqlite3.Connection], Outcome], *, default: Outcome, create: bool = False
    ) -> Outcome:
        """Call `work` with a connection; return `default` if there is no usable file."""
        if self._unusable:
            return default
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                if not create:
                    return default
            elif not is_file(self.path):
                raise OSError("not a regular file")
            elif self.path.stat().st_size > 2 * self._max_bytes:
                raise sqlite3.DatabaseError("larger than its limit")
            with closing(sqlite3.connect(self.path, timeout=TIMEOUT, isolation_level=None)) as connection:
                schema = _schema(connection)
                if schema not in ({}, SCHEMA):
                    raise sqlite3.DatabaseError("written by another program")
                return work(connection) if schema or create else default
        except (sqlite3.OperationalError, OSError) as error:
            self._disable(error)
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: SQLite quotes undecodable text
            self._reset(error)
        return default

    def _disable(self, error: Exception) -> None:
        """Warn once, and do not use the file any more."""
        self._unusable = True
        _warn(
            f"the text cache {self.path} cannot be used ({error}); embeddings are computed again. Delete "
            f"the file, or set {CACHE_VARIABLE} to a writable folder or to none"
        )

    def _reset(self, error: Exception) -> None:
        """Delete a damaged file."""
        try:
            for path in (self.path.with_name(f"{FILE_NAME}-journal"), self.path):
                path.unlink(missing_ok=True)
        except OSError as os_error:
            self._disable(os_error)
        else:
            _warn(f"the text cache {self.path} was damaged ({error}); it was deleted and is built again")


def open_text_cache(place: str | PathLike[str] | None = "auto") -> TextCache | None:
    """Return the cache in a folder.

    Args:
        place: a folder; "auto" for `$OVRCOAT_CACHE` or else the user's cache folder; None or "none" for no
            cache.
    """
    folder = cache_folder() if place == "auto" else place
    return None if folder is None or str(folder) == NO_CACHE else TextCache(folder)


def fingerprint(module: nn.Module, facts: Mapping[str, object]) -> str:
    """Return the cache key of text embeddings that `module` computes, given `facts` (JSON-serializable)."""
    return module_fingerprint(module, [FORMAT_VERSION, facts])


def _encoded(name: str) -> bytes:
    """Return the stored form of a name: bytes, since SQLite raises an error for damaged text."""
    return name.encode("utf-8", "surrogatepass")


def _checksum(key: str, name: str, row: bytes) -> bytes:
    """Return a checksum of an embedding together with its key and its name."""
    content = b"\0".join((key.encode(), _encoded(name), row))
    return hashlib.blake2b(content, digest_size=CHECKSUM_BYTES).digest()


def _checked(row: object, checksum: object, *, key: str, name: str) -> Float[Tensor, " embedding"] | None:
    """Return a stored embedding; None if it was damaged, or was never a unit vector."""
    if not isinstance(row, bytes) or checksum != _checksum(key, name, row):
        return None
    embedding = torch.from_numpy(np.frombuffer(row, dtype="<f4").astype(np.float32))
    is_unit = abs(float(embedding.double().norm()) - 1) <= NORM_TOLERANCE  # False for NaN
    return embedding if is_unit else None


def _schema(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the statements that created the tables, indices, views and triggers of a file, by name."""
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def _used_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of the file without pages that are free again."""
    pages, free, page_bytes = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page_bytes


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)
