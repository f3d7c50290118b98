import json
from pathlib import Path

import pytest

from ovrcoat.errors import OutputError
from ovrcoat.training.step_log import StepLog, append_line, keep_lines


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_line_is_there_at_once(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    with StepLog(path, first_step=0) as log:
        log.add({"step": 0, "mask": 0.5})
        assert json.loads(path.read_text()) == {"step": 0, "mask": 0.5}


def test_lines_that_will_be_repeated_and_torn_ones_go(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n[1]\n{"step": 3, "ma')
    with StepLog(path, first_step=2) as log:
        log.add({"step": 2})
    assert steps(path) == [0, 1, 2]


def test_a_new_run_begins_with_an_empty_log(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0}\n')
    with StepLog(path, first_step=0):
        assert path.read_text() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device without space")
def test_a_full_disk_is_an_output_error(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    with Path("/dev/full").open("ab", buffering=0) as full, StepLog(path, first_step=0) as log:
        log._file.close()
        log._file = full
        with pytest.raises(OutputError, match=r"cannot write .*log\.jsonl: No space left on device"):
            log.add({"step": 0})
    with pytest.raises(OutputError, match="No space left on device"):
        append_line(Path("/dev/full"), {"steps": 1})


def test_a_folder_that_is_missing_is_an_output_error(tmp_path: Path):
    with pytest.raises(OutputError, match="cannot write"):
        StepLog(tmp_path / "missing" / "log.jsonl", first_step=0)


def test_lines_of_another_key_are_kept_below_a_limit(tmp_path: Path):
    path = tmp_path / "validation.jsonl"
    keep_lines(path, key="steps", below=3)
    assert not path.exists()
    path.write_text('{"steps": 2}\n{"steps": 4}\n{"ste')
    keep_lines(path, key="steps", below=3)
    assert path.read_text() == '{"steps": 2}\n'
