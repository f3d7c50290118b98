import json
from pathlib import Path

from ovrcoat.training.step_log import StepLog


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
