"""Text rows on disk: a name that some process has embedded is read, not embedded again.

One SQLite file, for it settles what files alone do not: several writers at once, writes that stop halfway.
A row is found by its name and a fingerprint of all else that it depends on, and believed only if its own
checksum fits. Whatever goes wrong costs a warning and the time of embedding anew, never the answer.
"""

import hashlib
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.system.fingerprints import module_fingerprint
from ovrcoat.system.user_folders import CACHE_VARIABLE, NO_CACHE, cache_folder

FORMAT_VERSION = 1  # raise it when rows are computed otherwise: older ones are then found no more
FILE_NAME = f"text-rows-{FORMAT_VERSION}.sqlite3"
MOST_ROWS = 50_000  # about 160 MB of 768 numbers each; the oldest go first
PATIENCE = 5.0  # seconds that one process waits for another one's write, which takes some hundredths
PAGE_BYTES = 16_384  # a row of 768 numbers takes 3 KB: five to a page, where SQLite's usual 4 KB hold one

Answer = TypeVar("Answer")


class TextCache:
    """Unit rows of names in `folder`, which is made when the first row is written.

    At most `most_rows` are kept, whoever they belong to. Several processes and threads may use it at
    once.
    """

    def __init__(self, folder: str | PathLike[str], *, most_rows: int = MOST_ROWS) -> None:
        self.path = Path(folder).expanduser() / FILE_NAME
        self._most_rows = most_rows
        self._unusable = False

    def read(self, key: str, names: Iterable[str]) -> dict[str, Float[Tensor, " embedding"]]:
        """The rows of those `names` that are known under `key`; in float32, on the CPU."""
        wanted = list(names)
        found: dict[str, Tensor] = {}
        damaged = 0

        def look(connection: sqlite3.Connection) -> None:
            nonlocal damaged
            prompt = "SELECT row, checksum FROM rows WHERE key = ? AND name = ?"
            for name in wanted:
                for row, checksum in connection.execute(prompt, (key, _encoded(name))):
                    if isinstance(row, bytes) and checksum == _checksum(key, name, row):
                        found[name] = torch.from_numpy(np.frombuffer(row, dtype="<f4").astype(np.float32))
                    else:
                        damaged += 1

        self._use(look, otherwise=None)
        if damaged:
            _warn(f"{damaged} of the rows in {self.path} are damaged; these names are embedded anew")
        return found

    def write(self, key: str, rows: Mapping[str, Float[Tensor, " embedding"]]) -> None:
        """Keep rows under `key`, all of them or none; a name's earlier row is replaced."""
        lines = []
        for name, row in rows.items():
            content = row.detach().cpu().numpy().astype("<f4").tobytes()
            lines.append((key, _encoded(name), content, _checksum(key, name, content)))

        def keep(connection: sqlite3.Connection) -> None:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
            connection.execute("BEGIN IMMEDIATE")  # waits for other writers here, not halfway
            connection.execute(
                "CREATE TABLE IF NOT EXISTS rows (key TEXT NOT NULL, name BLOB NOT NULL, row BLOB NOT NULL, "
                "checksum BLOB NOT NULL, PRIMARY KEY (key, name))"
            )
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", lines)
            oldest = "DELETE FROM rows WHERE rowid <= (SELECT max(rowid) FROM rows) - ?"  # they are numbered
            connection.execute(oldest, (self._most_rows,))
            connection.execute("COMMIT")

        self._use(keep, otherwise=None, create=True)

    def count_rows(self) -> int:
        """Rows of all keys."""

        def count(connection: sqlite3.Connection) -> int:
            (rows,) = connection.execute("SELECT count(*) FROM rows").fetchone()
            return int(rows)

        return self._use(count, otherwise=0)

    def _use(
        self, work: Callable[[sqlite3.Connection], Answer], *, otherwise: Answer, create: bool = False
    ) -> Answer:
        """Let `work` use the file, if there is one; `otherwise` if there is none or it does not serve."""
        if self._unusable:
            return otherwise
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self.path.exists():
                return otherwise
            with closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as connection:
                return work(connection)
        except (sqlite3.OperationalError, OSError) as error:
            self._give_up(error)
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: SQLite quotes what it cannot read
            self._begin_anew(error)
        return otherwise

    def _give_up(self, error: Exception) -> None:
        """Warn once and work without the file from now on."""
        self._unusable = True
        _warn(
            f"the text cache {self.path} cannot be used ({error}); names are embedded anew. Delete "
            f"it, or set {CACHE_VARIABLE} to a folder that you may write to, or to none"
        )

    def _begin_anew(self, error: Exception) -> None:
        """Remove a file that SQLite finds damaged."""
        try:
            for path in (self.path.with_name(f"{FILE_NAME}-journal"), self.path):
                path.unlink(missing_ok=True)
        except OSError as stuck:
            self._give_up(stuck)
        else:
            _warn(f"the text cache {self.path} was damaged ({error}) and is begun anew")


def open_text_cache(place: str | PathLike[str] | None = "auto") -> TextCache | None:
    """The cache in a folder; "auto" is $OVRCOAT_CACHE, else the user's own; None and "none" are no cache."""
    folder = cache_folder() if place == "auto" else place
    return None if folder is None or str(folder) == NO_CACHE else TextCache(folder)


def fingerprint(module: nn.Module, facts: Mapping[str, object]) -> str:
    """Return the cache key of text embeddings that `module` computes, given `facts` (JSON-serializable)."""
    return module_fingerprint(module, [FORMAT_VERSION, facts])


def _encoded(name: str) -> bytes:
    """A name as it is stored; bytes, for damaged text would be an error of SQLite's."""
    return name.encode("utf-8", "surrogatepass")


def _checksum(key: str, name: str, row: bytes) -> bytes:
    """Over a row and what it belongs to."""
    return hashlib.blake2b(b"\0".join((key.encode(), _encoded(name), row)), digest_size=16).digest()


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)
