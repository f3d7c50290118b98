"""Text cache: text embeddings on disk, shared by all processes of a user.

The cache is one SQLite file, which supports several writers at once and interrupted writes. An embedding is
found by the class name and a fingerprint of everything else that it depends on, and is used only if its
checksum is correct. Any failure causes a warning and a new computation, never a wrong embedding.
"""

import hashlib
import sqlite3
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
from ovrcoat.system.paths import expand_user
from ovrcoat.system.user_folders import CACHE_VARIABLE, NO_CACHE, cache_folder

FORMAT_VERSION = 1  # increase it when embeddings are computed differently: older ones are then ignored
FILE_NAME = f"text-rows-{FORMAT_VERSION}.sqlite3"
MAX_EMBEDDINGS = 50_000  # about 160 MB at 768 dimensions; the oldest are deleted first
TIMEOUT = 5.0  # seconds to wait for the write of another process, which takes a few hundredths
PAGE_BYTES = 16_384  # five embeddings of 768 dimensions per page; SQLite's default of 4 KB holds one

Outcome = TypeVar("Outcome")


class TextCache:
    """Text embeddings in a folder; may be used by several processes and threads at once.

    Args:
        folder: created when the first embedding is written.
        max_embeddings: number of embeddings to keep, of all models together.
    """

    def __init__(self, folder: str | PathLike[str], *, max_embeddings: int = MAX_EMBEDDINGS) -> None:
        self.path = expand_user(folder) / FILE_NAME
        self._max_embeddings = max_embeddings
        self._unusable = False

    def read(self, key: str, names: Iterable[str]) -> dict[str, Float[Tensor, " embedding"]]:
        """Return the embeddings of those `names` that are stored under `key`, in float32 on the CPU."""
        requested = list(names)
        found: dict[str, Tensor] = {}
        damaged = 0

        def look_up(connection: sqlite3.Connection) -> None:
            nonlocal damaged
            query = "SELECT row, checksum FROM rows WHERE key = ? AND name = ?"
            for name in requested:
                for row, checksum in connection.execute(query, (key, _encoded(name))):
                    if isinstance(row, bytes) and checksum == _checksum(key, name, row):
                        found[name] = torch.from_numpy(np.frombuffer(row, dtype="<f4").astype(np.float32))
                    else:
                        damaged += 1

        self._use(look_up, default=None)
        if damaged:
            _warn(f"{damaged} embeddings in {self.path} are damaged; they are computed again")
        return found

    def write(self, key: str, embeddings: Mapping[str, Float[Tensor, " embedding"]]) -> None:
        """Store embeddings under `key`, all or none; existing ones of the same names are replaced."""
        rows = []
        for name, embedding in embeddings.items():
            content = embedding.detach().cpu().numpy().astype("<f4").tobytes()
            rows.append((key, _encoded(name), content, _checksum(key, name, content)))

        def store(connection: sqlite3.Connection) -> None:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # has an effect on a new file only
            connection.execute("BEGIN IMMEDIATE")  # waits for other writers at the beginning
            connection.execute(
                "CREATE TABLE IF NOT EXISTS rows (key TEXT NOT NULL, name BLOB NOT NULL, row BLOB NOT NULL, "
                "checksum BLOB NOT NULL, PRIMARY KEY (key, name))"
            )
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", rows)
            # row ids increase with time
            oldest = "DELETE FROM rows WHERE rowid <= (SELECT max(rowid) FROM rows) - ?"
            connection.execute(oldest, (self._max_embeddings,))
            connection.execute("COMMIT")

        self._use(store, default=None, create=True)

    def count(self) -> int:
        """Return the number of stored embeddings, of all models together."""

        def count(connection: sqlite3.Connection) -> int:
            (rows,) = connection.execute("SELECT count(*) FROM rows").fetchone()
            return int(rows)

        return self._use(count, default=0)

    def _use(
        self, work: Callable[[sqlite3.Connection], Outcome], *, default: Outcome, create: bool = False
    ) -> Outcome:
        """Call `work` with a connection; return `default` if there is no usable file."""
        if self._unusable:
            return default
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self.path.exists():
                return default
            with closing(sqlite3.connect(self.path, timeout=TIMEOUT, isolation_level=None)) as connection:
                return work(connection)
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
    return hashlib.blake2b(b"\0".join((key.encode(), _encoded(name), row)), digest_size=16).digest()


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)
