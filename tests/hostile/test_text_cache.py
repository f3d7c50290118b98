"""Text caches that other programs wrote, damaged or filled: an embedding is right, or computed again."""

import os
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ovrcoat.segmentation import text_cache
from ovrcoat.segmentation.text_cache import SCHEMA, TextCache, _checksum

SIZE = 8
GOOD = torch.eye(SIZE)[3]
NAN = float("nan")


@pytest.fixture
def cache(tmp_path: Path) -> TextCache:
    cache = TextCache(tmp_path)
    cache.write("key", {"cat": GOOD})
    return cache


@contextmanager
def database(cache: TextCache) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(cache.path)) as connection, connection:
        yield connection


def read(cache: TextCache, *, size: int = SIZE) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the package: a damaged cache warns
        return cache.read("key", ["cat"], size=size)


def assert_computed_again(cache: TextCache) -> None:
    """The row is not used, and a new one is stored in its place."""
    assert read(cache) == {}
    cache.write("key", {"cat": GOOD})
    assert torch.equal(read(cache)["cat"], GOOD)


def store(cache: TextCache, row: object, checksum: object = None, written: object = 0) -> None:
    """Store a row as another program would: with the right checksum, unless one is given."""
    right = _checksum("key", "cat", row) if isinstance(row, bytes) else b"\0" * 16
    values = ("key", b"cat", row, right if checksum is None else checksum, written)
    with database(cache) as connection:
        connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", values)


def floats(*values: float) -> bytes:
    return np.array(values, dtype="<f4").tobytes()


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"\0" * 4 * SIZE,
        b"\xff" * 4 * SIZE,
        floats(*GOOD.tolist())[:-1],
        floats(*GOOD.tolist(), 0.0),
        floats(*GOOD.tolist()) * 2,
        GOOD.double().numpy().tobytes(),
        GOOD.half().numpy().tobytes(),
        GOOD.int().numpy().tobytes(),
        floats(NAN, *GOOD.tolist()[1:]),
        floats(float("inf"), *GOOD.tolist()[1:]),
        floats(-float("inf"), *GOOD.tolist()[1:]),
        floats(3e38, *GOOD.tolist()[1:]),
        floats(*[1e-30] * SIZE),
        floats(*[1.0] * SIZE),
        b"\0" * (1 << 24),
        "0.5 " * SIZE,
        "a" * 4 * SIZE,
        7,
        0.5,
    ],
    ids=lambda row: f"{type(row).__name__} {repr(row[:12])[:30] if isinstance(row, bytes | str) else row}",
)
def test_a_row_of_another_length_type_or_norm(cache: TextCache, row: object):
    store(cache, row)
    assert_computed_again(cache)


@pytest.mark.parametrize("checksum", [b"", b"\0" * 16, "a" * 16, b"\0" * (1 << 24), 5, 0.5])
def test_a_wrong_checksum(cache: TextCache, checksum: object):
    store(cache, floats(*GOOD.tolist()), checksum)
    assert_computed_again(cache)


@pytest.mark.parametrize("written", ["yesterday", -1, 2**62, b"\0", 1e300])
def test_a_wrong_time_changes_no_embedding(cache: TextCache, written: object):
    store(cache, floats(*GOOD.tolist()), written=written)
    assert torch.equal(read(cache)["cat"], GOOD)
    cache.write("key", {"dog": GOOD})  # prunes
    assert read(cache).keys() <= {"cat"}


def test_a_model_with_embeddings_of_another_length(cache: TextCache):
    assert read(cache, size=16) == {}
    assert read(cache, size=4) == {}


FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(b"\0" * 100_000),
    "text": lambda path: path.write_text("cat 0.5\n" * 10_000),
    "truncated to its header": lambda path: os.truncate(path, 100),
    "truncated to half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "without its last byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "extended": lambda path: path.write_bytes(path.read_bytes() + b"\xff" * 50_000),
    "overwritten in the middle": lambda path: path.write_bytes(
        path.read_bytes()[:9000] + b"\xff" * 9000 + path.read_bytes()[18_000:]
    ),
    "huge and sparse": lambda path: os.truncate(path, 1 << 40),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
    "an endless device": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
    "a dangling link": lambda path: (path.unlink(), path.symlink_to(path.with_name("nowhere") / "x")),
}


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs and links of POSIX")
@pytest.mark.parametrize("damage", FILES)
def test_a_file_that_is_damaged_or_none(cache: TextCache, damage: str):
    FILES[damage](cache.path)
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = read(cache)
        cache.write("key", {"cat": GOOD})
        found |= read(cache)
    assert time.monotonic() - start < 3
    assert all(torch.equal(row, GOOD) for row in found.values())


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
FOREIGN_SCHEMAS = {
    "a view without end": f"CREATE VIEW rows AS {ENDLESS} SELECT i AS key, i AS name, i AS row, "
    "i AS checksum, i AS written FROM n",
    "a table of other types": "CREATE TABLE rows (key INTEGER, name REAL, row TEXT, checksum TEXT, "
    "written TEXT)",
    "a table with fewer columns": "CREATE TABLE rows (key TEXT, name BLOB)",
    "a table of another program": "CREATE TABLE cookies (host TEXT, value TEXT)",
    "a generated column": "CREATE TABLE rows (key TEXT, name BLOB, row BLOB AS (zeroblob(1000000000)), "
    "checksum BLOB, written INTEGER)",
}


@pytest.mark.parametrize("schema", FOREIGN_SCHEMAS)
def test_a_schema_of_another_program(cache: TextCache, schema: str):
    cache.path.unlink()
    with database(cache) as connection:
        connection.execute(FOREIGN_SCHEMAS[schema])
    assert_computed_again(cache)


def test_a_trigger_is_not_executed(cache: TextCache):
    with database(cache) as connection:
        connection.execute(
            "CREATE TRIGGER spoil AFTER INSERT ON rows BEGIN "
            "UPDATE rows SET row = zeroblob(1000000) WHERE name <> x'00'; END"
        )
    assert_computed_again(cache)


def test_the_file_stays_below_its_limit(tmp_path: Path):
    limit = 1 << 20
    cache = TextCache(tmp_path, max_bytes=limit)
    for turn in range(12):
        cache.write("key", {f"{'long name ' * 500}{turn} {number}": GOOD for number in range(40)})
    assert cache.path.stat().st_size < 2 * limit
    assert cache.count() > 0
    cache.write("key", {"cat": GOOD})
    assert torch.equal(read(cache)["cat"], GOOD)


def test_one_write_above_the_limit_is_left_out(tmp_path: Path):
    cache = TextCache(tmp_path, max_bytes=1 << 16)
    cache.write("key", {"a" * 200_000: GOOD})
    assert cache.count() == 0


def test_old_embeddings_are_removed_when_one_is_written(cache: TextCache, monkeypatch: pytest.MonkeyPatch):
    later = time.time() + (text_cache.MAX_AGE_DAYS + 1) * 86_400
    monkeypatch.setattr(time, "time", lambda: later)
    assert torch.equal(read(cache)["cat"], GOOD)  # reading changes nothing
    cache.write("key", {"dog": GOOD})
    assert read(cache) == {}
    assert cache.count() == 1


def prune(folder: Path, name: str) -> None:
    cache = TextCache(folder, max_embeddings=20, max_bytes=1 << 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for turn in range(15):
            cache.write("key", {f"{name} {turn} {number}{'x' * 5000}": GOOD for number in range(10)})


@pytest.mark.skipif(sys.platform == "win32", reason="fork of POSIX")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Python 3.12: pytest has threads
def test_two_processes_may_prune_at_once(tmp_path: Path):
    context = get_context("fork")  # a new process would import torch for seconds
    writers = [context.Process(target=prune, args=(tmp_path, name)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    cache = TextCache(tmp_path)
    assert 0 < cache.count() <= 20
    assert cache.path.stat().st_size < 2 << 20
    with database(cache) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")) == SCHEMA
