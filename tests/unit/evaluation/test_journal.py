"""A journal lets an interrupted run resume, and only that run."""

import json
import os
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from ovrcoat.errors import OutputError
from ovrcoat.evaluation.journal import FORMAT, LINES_PER_SYNC, Journal, JournalLine
from ovrcoat.evaluation.journal_entry import Detection, JournalEntry, RunLengthMask
from ovrcoat.evaluation.metrics.error_analysis import SegmentOutcome

HEADER = {"model": {"hash": "abc"}, "trusts": (0.0, 0.5)}


class Entry(JournalLine):
    image_id: int | str
    tallies: dict[int, tuple[int, int, int, float]] = Field(default={})


ENTRIES = [Entry(image_id=number, tallies={7: (1, 0, 0, 0.75)}) for number in range(3)]


def open_journal(
    path: Path, header: dict[str, object] = HEADER, *, overwrite: bool = False
) -> Journal[Entry]:
    return Journal(path, header, entry_type=Entry, overwrite=overwrite)


def write(path: Path, entries: list[Entry] = ENTRIES) -> None:
    with open_journal(path) as journal:
        for entry in entries:
            journal.append(entry)


def read(path: Path) -> list[Entry]:
    with open_journal(path) as journal:
        return list(journal.entries())


def test_a_new_journal_is_empty_and_makes_its_folder(tmp_path: Path):
    assert read(tmp_path / "new" / "journal.jsonl") == []
    assert json.loads((tmp_path / "new" / "journal.jsonl").read_text())["trusts"] == [0.0, 0.5]


def test_entries_are_read_in_order_and_appended(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path, ENTRIES[:2])
    write(path, ENTRIES[2:])
    assert read(path) == ENTRIES


def test_an_entry_survives_a_killed_process(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    journal = open_journal(path)
    journal.append(ENTRIES[0])
    left = path.with_name("left.jsonl")
    left.write_bytes(path.read_bytes())  # what a killed process would leave: the journal is not closed
    assert read(left) == ENTRIES[:1]
    with pytest.raises(OutputError, match=rf"is in use by process {os.getpid()} on"):
        open_journal(path)
    journal.close()
    assert read(path) == ENTRIES[:1]
    assert [item.name for item in sorted(tmp_path.iterdir())] == ["journal.jsonl", "left.jsonl"]


def test_only_earlier_entries_are_read(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path, ENTRIES[:1])
    with open_journal(path) as journal:
        journal.append(ENTRIES[1])
        assert list(journal.entries()) == ENTRIES[:1]


def test_many_entries(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    many = [Entry(image_id=number) for number in range(2 * LINES_PER_SYNC + 3)]
    write(path, many)
    assert read(path) == many


@pytest.mark.parametrize("torn", [b'{"image_id": 9, "tal', b'{"image_id"\n', b"\0\0\0\n", b"\xff"])
def test_an_incomplete_last_line_is_dropped(tmp_path: Path, torn: bytes):
    path = tmp_path / "journal.jsonl"
    write(path, ENTRIES[:2])
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    write(path, ENTRIES[2:])
    assert read(path) == ENTRIES
    assert path.read_bytes().startswith(whole)


def test_a_damaged_line_in_the_middle_is_rejected(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"rubbish\n", *lines[2:]]))
    with pytest.raises(OutputError, match="line 3 is damaged; choose another output folder, or start over"):
        read(path)


@pytest.mark.parametrize(
    "line",
    [
        b'{"image_id": 9, "panop": {}}\n',
        b'{"tallies": {}}\n',
        b'{"image_id": 9, "tallies": {"7": [1]}}\n',
        b"[1]\n",
    ],
)
@pytest.mark.parametrize("place", [2, 4])
def test_a_line_of_another_type_is_rejected(tmp_path: Path, line: bytes, place: int):
    path = tmp_path / "journal.jsonl"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:place], line, *lines[place:]]))
    with pytest.raises(OutputError, match=f"line {place + 1} is damaged; choose another output folder"):
        read(path)


def test_the_earlier_format_is_rejected(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"format": "ovrcoat evaluation journal 1"}\n')
    with pytest.raises(OutputError, match=f"format is 'ovrcoat evaluation journal 1', expected '{FORMAT}'"):
        read(path)


def test_a_different_run_is_rejected_with_the_differences(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path)
    other = {"model": {"hash": "xyz"}, "trusts": (0.0, 0.5), "tasks": ["semantic"]}
    with pytest.raises(OutputError, match="belongs to a different run") as caught:
        open_journal(path, other)
    assert '- model.hash: "abc" in the file, "xyz" in this run' in str(caught.value)
    assert '- tasks: null in the file, ["semantic"] in this run' in str(caught.value)
    assert "trusts" not in str(caught.value)
    assert read(path) == ENTRIES


def test_overwrite_starts_over(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    write(path)
    with open_journal(path, {"model": "another"}, overwrite=True) as journal:
        assert list(journal.entries()) == []
    with open_journal(path, {"model": "another"}) as journal:
        assert list(journal.entries()) == []


@pytest.mark.parametrize("content", [b"hello\n", b"[1]\n", b'{"format": "journal 99"}\n'])
def test_a_foreign_file_is_not_modified(tmp_path: Path, content: bytes):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="is not a journal of this version of ovrcoat"):
        read(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_accepted(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    path.touch()
    assert read(path) == []


def test_a_path_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        read(tmp_path / "file" / "journal.jsonl")


def test_the_entry_of_an_evaluation_is_preserved(tmp_path: Path):
    entry = JournalEntry(
        image_id="000000000139",
        seconds=0.25,
        panoptic={"0": {7: (1, 2, 3, 0.1 + 0.2)}, "adaptive": {}},
        error_analysis={"0": ((7, SegmentOutcome.REJECTED_AS_VOID_MISCLASSIFIED),)},
        areas_differ=("a.png: segment 1 has area 2 in the JSON, 3 pixels in the PNG",),
        semantic={"0": ((0, 1, 2**40),)},
        instance={
            "0": (
                Detection(category_id=7, segmentation=RunLengthMask(size=(3, 4), counts="12"), score=1 / 3),
            )
        },
    )
    for expected in ([], [entry]):
        with Journal(tmp_path / "journal.jsonl", HEADER, entry_type=JournalEntry) as journal:
            assert list(journal.entries()) == expected
            if not expected:
                journal.append(entry)


def test_numbers_that_json_cannot_hold_are_rejected():
    with pytest.raises(ValidationError, match="finite number"):
        JournalEntry(image_id=1, seconds=float("nan"))


def test_a_difference_inside_a_list_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    header = {"categories": [{"name": "cat"}, {"name": "ball"}], "trusts": list(range(30))}
    Journal(path, header, entry_type=JournalLine).close()
    changed = {"categories": [{"name": "cat"}, {"name": "football"}], "trusts": list(range(1, 31))}
    with pytest.raises(OutputError, match=r'categories\.1\.name: "ball" in the file, "football"') as caught:
        Journal(path, changed, entry_type=JournalLine)
    assert str(caught.value).endswith("\n- and 21 more")
