"""The tool that repeats the experiment of the paper: its commands, and the tables that it makes."""

import statistics
from pathlib import Path
from types import ModuleType

import pytest

from ovrcoat.evaluation.reports.report import EvaluationReport
from sample_reports import random_report
from tool_modules import load_tool


@pytest.fixture
def tool() -> ModuleType:
    return load_tool("experiment")


@pytest.fixture
def commands(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that were run; training makes folders, evaluation a report with random numbers."""
    recorded: list[tuple[str, ...]] = []

    def pretend(*command: object) -> None:
        parts = tuple(map(str, command))
        if parts[:2] == ("-m", "ovrcoat"):
            parts = parts[2:]
        recorded.append(parts)
        if parts[0] == "train":
            output = Path(parts[parts.index("--output") + 1])
            for folder in ("segmentation", "ovr"):
                (output / folder).mkdir(parents=True, exist_ok=True)
        elif parts[0] == "evaluate":
            output = Path(parts[parts.index("--output") + 1])
            output.mkdir(parents=True)
            (output / "report.json").write_text(random_report(len(recorded)).to_json())

    monkeypatch.setattr(tool, "run_python", pretend)
    monkeypatch.setenv("OVRCOAT_DATASETS", "sets")
    return recorded


def run(tool: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> str:
    """The table of two seeds."""
    options = ["--folder", str(folder), "--seeds", "3", "4", *more]
    monkeypatch.setattr("sys.argv", ["experiment.py", *options])
    tool.main()
    return (folder / "table.md").read_text()


def test_both_second_stages_continue_from_one_first_stage(tool, commands, tmp_path, monkeypatch, capsys):
    run(tool, tmp_path, monkeypatch)
    trainings = [command for command in commands if command[0] == "train"]
    assert [(command[3], command[-1]) for command in trainings] == [
        ("seed=3", str(tmp_path / "seed-3")),
        ("seed=3", "stages.1.ovr.form=probabilities"),
        ("seed=4", str(tmp_path / "seed-4")),
        ("seed=4", "stages.1.ovr.form=probabilities"),
    ]
    assert (tmp_path / "seed-3/probabilities/segmentation").is_dir()
    start = f"start.model={tmp_path / 'seed-4/initial/model.safetensors'}"
    assert [start in command for command in trainings] == [False, False, True, True]
    builds = [command for command in commands if command[0].endswith("initial_model.py")]
    assert [command[1:] for command in builds] == [
        (str(tool.INITIAL_CONFIG), "--seed", seed, "--folder", str(tmp_path / f"seed-{seed}/initial"))
        for seed in ("3", "4")
    ]
    data = [command[command.index("--data") + 1] for command in commands if command[0] == "evaluate"]
    assert set(data) == {"sets/msrc_dev", "sets/coco_things"}
    evaluated = {command[command.index("--model") + 1] for command in commands if command[0] == "evaluate"}
    assert str(tmp_path / "seed-4/probabilities/ovr/model.safetensors") in evaluated
    assert len(evaluated) == 2 * 3


def test_the_table_has_mean_and_deviation_over_the_seeds(tool, commands, tmp_path, monkeypatch, capsys):
    table = run(tool, tmp_path, monkeypatch)
    assert table == capsys.readouterr().out
    reports = [
        EvaluationReport.read(tmp_path / f"seed-{seed}/segmentation/on-msrc_dev/report.json")
        for seed in (3, 4)
    ]
    values = [100 * report.run(0.5).panoptic.groups["Unseen"].pq for report in reports]
    line = next(line for line in table.splitlines() if line.startswith("| COAT |"))
    assert f"| {statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} |" in line
    assert "| both, OVR on probabilities |" in table
    assert "adaptive" not in table  # these reports have no such run


def test_only_the_table(tool, commands, tmp_path, monkeypatch, capsys):
    table = run(tool, tmp_path, monkeypatch)
    commands.clear()
    assert run(tool, tmp_path, monkeypatch, "--only-table") == table
    assert commands == []


def test_missing_reports_are_an_error(tool, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"no seed of \[3, 4\] has reports of all models on msrc_dev"):
        run(tool, tmp_path, monkeypatch, "--only-table")


def test_without_the_datasets_it_stops_before_training(tool, commands, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OVRCOAT_DATASETS")
    with pytest.raises(SystemExit):
        run(tool, tmp_path, monkeypatch)
    assert "environment variable OVRCOAT_DATASETS is not set" in capsys.readouterr().err
    assert commands == []
