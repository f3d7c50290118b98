from pathlib import Path

import pytest

from ovrcoat.errors import OutputError
from ovrcoat.system.atomic_write import new_part_path
from ovrcoat.system.exclusive_output import exclusive_output


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_leftovers_of_the_output_are_removed_and_nothing_else(tmp_path: Path):
    output, other = tmp_path / "a[1].json", tmp_path / "a1.json"
    new_part_path(output, is_named=True).write_text("left over")
    kept = [new_part_path(other, is_named=True), tmp_path / ".hidden", tmp_path / "a[1].json.part", output]
    for path in kept:
        path.write_text("")
    with exclusive_output(output):
        assert not list(tmp_path.glob(".a[[]1].json.*.part"))
    assert names(tmp_path) == {path.name for path in kept}


def test_another_writer_is_refused_and_its_files_stay(tmp_path: Path):
    output = tmp_path / "a.json"
    with exclusive_output(output):
        part = new_part_path(output, is_named=True)
        part.write_text("being written")
        with pytest.raises(OutputError, match=r"is in use by process \d+"), exclusive_output(output):
            pass
        assert part.read_text() == "being written"
    with exclusive_output(tmp_path / "b.json"):
        assert part.exists()


def test_no_folder_is_created(tmp_path: Path):
    with exclusive_output(tmp_path / "new" / "a.json"):
        assert names(tmp_path) == set()
