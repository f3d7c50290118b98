import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ovrcoat.segmentation import text_cache
from ovrcoat.segmentation.text_cache import FILE_NAME, TextCache, fingerprint, open_text_cache


def rows_of(*names: str, width: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(names))
    return {name: F.normalize(torch.randn(width, generator=generator), dim=0) for name in names}


def read(cache: TextCache, key: str, names: Iterable[str]) -> dict[str, Tensor]:
    return cache.read(key, names, size=8)


@pytest.fixture
def cache(tmp_path: Path) -> TextCache:
    return TextCache(tmp_path / "cache")


def assert_holds(cache: TextCache, key: str, rows: dict[str, Tensor]) -> None:
    found = read(cache, key, rows)
    assert list(found) == list(rows)
    for name, row in rows.items():
        assert torch.equal(found[name], row)


def test_rows_come_back_bit_by_bit_from_any_instance(cache: TextCache) -> None:
    rows = rows_of("cat", "traffic light", "Löwe", "熊")
    cache.write("key", rows)
    assert_holds(cache, "key", rows)
    assert_holds(TextCache(cache.path.parent), "key", rows)
    assert cache.count() == 4


def test_other_names_and_other_keys_are_not_there(cache: TextCache) -> None:
    cache.write("key", rows_of("cat"))
    assert read(cache, "key", ["Cat", "dog"]) == {}
    assert read(cache, "other key", ["cat"]) == {}


def test_reading_makes_nothing(cache: TextCache) -> None:
    assert read(cache, "key", ["cat"]) == {}
    assert cache.count() == 0
    assert not cache.path.parent.exists()


def test_a_name_that_is_written_again_has_its_last_row(cache: TextCache) -> None:
    cache.write("key", rows_of("cat"))
    later = {"cat": torch.full((8,), 8**-0.5)}
    cache.write("key", later)
    assert_holds(cache, "key", later)
    assert cache.count() == 1


def test_the_oldest_rows_go_first(tmp_path: Path) -> None:
    cache = TextCache(tmp_path, max_embeddings=3)
    for name in ("cat", "dog", "sky", "road"):
        cache.write("key", rows_of(name))
    assert list(read(cache, "key", ["cat", "dog", "sky", "road"])) == ["dog", "sky", "road"]


def test_a_row_that_was_tampered_with_is_not_believed(cache: TextCache) -> None:
    rows = rows_of("cat", "dog")
    cache.write("key", rows)
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE rows SET row = zeroblob(32) WHERE name = ?", (b"cat",))
    connection.close()
    with pytest.warns(UserWarning, match="1 embeddings in .* are damaged; they are computed again"):
        assert list(read(cache, "key", rows)) == ["dog"]
    cache.write("key", {"cat": rows["cat"]})
    assert_holds(cache, "key", rows)


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 500])
def test_a_damaged_file_is_begun_anew(cache: TextCache, damage: bytes) -> None:
    cache.path.parent.mkdir()
    cache.path.write_bytes(damage)
    with pytest.warns(UserWarning, match=r"the text cache .* was damaged \(file is not a database\)"):
        assert read(cache, "key", ["cat"]) == {}
    rows = rows_of("cat")
    cache.write("key", rows)
    assert_holds(cache, "key", rows)


def test_a_damaged_file_that_cannot_be_removed_is_left_alone(
    cache: TextCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.path.parent.mkdir()
    cache.path.write_bytes(b"no database at all" * 100)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(UserWarning, match=r"cannot be used \(in use\)"):
        assert read(cache, "key", ["cat"]) == {}
    cache.write("key", rows_of("cat"))  # no second warning
    assert cache.path.read_bytes().startswith(b"no database")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flipped=st.integers(1, 255), kept=st.floats(0, 1))
def test_whatever_happens_to_the_file_no_wrong_row_comes_out(
    tmp_path: Path, place: float, flipped: int, kept: float
) -> None:
    cache = TextCache(tmp_path)
    cache.path.unlink(missing_ok=True)
    rows = rows_of(*(f"name {number}" for number in range(20)))
    cache.write("key", rows)
    content = bytearray(cache.path.read_bytes())
    content[int(place * len(content))] ^= flipped
    cache.path.write_bytes(content if kept > 0.5 else content[: int(len(content) * 2 * kept)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read(cache, "key", rows)
        cache.write("key", rows)
        again = read(cache, "key", rows)
    for name, row in (*found.items(), *again.items()):
        assert torch.equal(row, rows[name])


def test_a_place_that_cannot_be_written_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = TextCache(tmp_path / "file")
    with pytest.warns(UserWarning, match="cannot be used .* set OVRCOAT_CACHE to a writable folder"):
        cache.write("key", rows_of("cat"))
    cache.write("key", rows_of("cat"))
    assert read(cache, "key", ["cat"]) == {}


def test_a_writer_that_does_not_end_is_not_waited_for(
    cache: TextCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write("key", rows_of("cat"))
    monkeypatch.setattr(text_cache, "TIMEOUT", 0.01)
    other = sqlite3.connect(cache.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.warns(UserWarning, match="database is locked"):
        assert read(cache, "key", ["cat"]) == {}
    other.close()


WRITER = """
import sys, torch
from ovrcoat.segmentation.text_cache import TextCache
cache, me = TextCache(sys.argv[1]), sys.argv[2]
for turn in range(25):
    row = torch.eye(25)[turn]
    cache.write("key", {f"{me} {turn}": row, "common": row})
"""


def test_two_processes_may_write_at_once(cache: TextCache) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-W", "error::UserWarning", "-c", WRITER, cache.path.parent, name])
        for name in ("one", "two")
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    expected = {f"{me} {turn}": torch.eye(25)[turn] for me in ("one", "two") for turn in range(25)}
    found = cache.read("key", [*expected, "common"], size=25)
    assert found.keys() == {*expected, "common"}
    assert all(torch.equal(found[name], row) for name, row in expected.items())
    assert torch.equal(found["common"], torch.eye(25)[24])


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVRCOAT_CACHE", str(tmp_path))
    opened = open_text_cache()
    assert opened is not None
    assert opened.path == tmp_path / FILE_NAME
    elsewhere = open_text_cache(tmp_path / "elsewhere")
    assert elsewhere is not None
    assert elsewhere.path == tmp_path / "elsewhere" / FILE_NAME
    assert open_text_cache(None) is None
    assert open_text_cache("none") is None
    monkeypatch.setenv("OVRCOAT_CACHE", "none")
    assert open_text_cache() is None


def test_the_fingerprint_depends_on_weights_and_facts() -> None:
    torch.manual_seed(0)
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    assert fingerprint(one, {"templates": ["a"]}) == fingerprint(one, {"templates": ["a"]})
    different = {fingerprint(one, {"templates": ["a"]}), fingerprint(other, {"templates": ["a"]})}
    assert len(different | {fingerprint(one, {"templates": ["b"]})}) == 3
