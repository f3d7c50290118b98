"""A journal goes on where its run was interrupted, and only there."""

import json
from pathlib import Path
from typing import Any

import pytest

from ovrcoat.errors import OutputError
from ovrcoat.evaluation.journal import LINES_PER_SYNC, Journal

HEADER = {"model": {"hash": "abc"}, "trusts": (0.0, 0.5)}
ENTRIES = [{"image_id": number, "tallies": {"7": [1, 0, 0, 0.75]}} for number in range(3)]


def write(path: Path, entries: list[dict[str, Any]] = ENTRIES) -> None:
    with Journal(path, HEADER) as journal:
        for entry in entries:
            journal.append(entry)


def read(path: Path) -> list[dict[str, Any]]:
    with Journal(path, HEADER) as journal:
        return list(journal.entries())


def test_a_new_journal_is_empty_and_makes_its_folder(tmp_path: Path):
    assert read(tmp_path / "new" / "journal.jsonl") == []
    assert json.loads((tmp_path / "new" / "journal.jsonl").read_text())["trusts"] == [0.0, 0.5]


def test_entries_come_back_in_order_and_are_gone_on_with(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path, ENTRIES[:2])
    write(path, ENTRIES[2:])
    assert read(path) == ENTRIES


def test_an_entry_outlives_a_process_that_is_killed(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, HEADER)
    journal.append(ENTRIES[0])
    assert read(path) == ENTRIES[:1]  # nobody closed it
    journal.close()


def test_only_entries_from_before_are_given(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path, ENTRIES[:1])
    with Journal(path, HEADER) as journal:
        journal.append(ENTRIES[1])
        assert list(journal.entries()) == ENTRIES[:1]


def test_many_entries(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    many = [{"image_id": number} for number in range(2 * LINES_PER_SYNC + 3)]
    write(path, many)
    assert read(path) == many


@pytest.mark.parametrize("torn", [b'{"image_id": 9, "tal', b'{"image_id"\n', b"\0\0\0\n", b"\xff"])
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: bytes):
    path = tmp_path / "journal.jsonl"
    write(path, ENTRIES[:2])
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    write(path, ENTRIES[2:])
    assert read(path) == ENTRIES
    assert path.read_bytes().startswith(whole)


def test_a_damaged_line_in_the_middle_is_refused(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"rubbish\n", *lines[2:]]))
    with pytest.raises(OutputError, match="line 3 is damaged; choose another output folder, or start anew"):
        read(path)


def test_another_run_is_refused_by_what_differs(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path)
    other = {"model": {"hash": "xyz"}, "trusts": (0.0, 0.5), "tasks": ["semantic"]}
    with pytest.raises(OutputError, match="belongs to another run") as caught:
        Journal(path, other)
    assert '- model.hash: there "abc", now "xyz"' in str(caught.value)
    assert '- tasks: there null, now ["semantic"]' in str(caught.value)
    assert "trusts" not in str(caught.value)
    assert read(path) == ENTRIES


def test_overwrite_starts_anew(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path)
    with Journal(path, {"model": "another"}, overwrite=True) as journal:
        assert list(journal.entries()) == []
    with Journal(path, {"model": "another"}) as journal:
        assert list(journal.entries()) == []


@pytest.mark.parametrize("content", [b"hello\n", b"[1]\n", b'{"format": "journal 99"}\n'])
def test_a_strange_file_is_left_alone(tmp_path: Path, content: bytes):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="no journal that this ovrcoat reads"):
        read(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_no_obstacle(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    path.touch()
    assert read(path) == []


def test_a_place_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        read(tmp_path / "file" / "journal.jsonl")
