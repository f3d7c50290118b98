"""`ovrcoat train` on a tiny network: messages, files and exit status."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cyclopts import App

import tiny_training
from ovrcoat.checkpoints import native
from ovrcoat.cli.train import train
from ovrcoat.errors import ConfigError, DatasetError, TrainingError
from ovrcoat.system.signals import Terminated
from ovrcoat.training.trainer import StageTrainer

Command = Callable[..., int]


@pytest.fixture
def ovrcoat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `ovrcoat train ARGUMENTS...` in a folder that holds the configuration c.yaml of two stages."""
    monkeypatch.chdir(tmp_path)
    stages = [tiny_training.stage("one", steps=2), tiny_training.stage("two", steps=1, data="part", ovr={})]
    tiny_training.write(Path("c.yaml"), tiny_training.settings(tmp_path, output=Path("out"), stages=stages))
    app = App(result_action="return_value", exit_on_error=False, suppress_keyboard_interrupt=False)
    app.command(train)

    def run(*arguments: object) -> int:
        return app(["train", *map(str, arguments)], print_error=False)

    return run


def test_it_prints_the_plan_and_how_to_use_the_checkpoint(
    ovrcoat: Command, capsys: pytest.CaptureFixture[str]
):
    assert ovrcoat("c.yaml") == 0
    shown = capsys.readouterr()
    checkpoint = Path("out/two/model.safetensors")
    assert shown.out.splitlines() == [
        f"→ {checkpoint}",
        f"try it: ovrcoat segment IMAGE --model {checkpoint}",
    ]
    first, one, named, two, *_ = shown.err.splitlines()
    assert first == "start: tiny.safetensors; stages: one (2 steps), two (1 steps); output: out"
    assert one.startswith("one: 2 steps; 3 images, 2 classes, ")
    assert one.endswith(" parameters are trained")
    assert named == (
        "one: 2 of 3 categories of the data have a class name and text embedding; without: zebra (1 segment)"
    )
    assert two.startswith("two: 1 steps; 3 images, 2 classes, ")
    header = native.read_header(checkpoint)
    assert [category.names[0] for category in header.training_vocabulary.categories] == ["cat", "sky"]
    assert header.provenance.keys() >= {"source", "stage_one", "stage_two"}
    assert ovrcoat("c.yaml") == 0
    again = capsys.readouterr()
    assert "one: completed by an earlier run\ntwo: completed by an earlier run" in again.err
    assert again.out == shown.out


def test_settings_output_and_json(ovrcoat: Command, capsys: pytest.CaptureFixture[str]):
    options = (
        "--set",
        "stages.0.schedule.steps=1",
        "--set",
        "seed=4",
        "--output",
        "elsewhere",
        "--json",
        "--quiet",
    )
    assert ovrcoat("c.yaml", *options) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    document = json.loads(shown.out)
    assert document["stages"][0]["unnamed"] == {"zebra": 1}
    assert document["stages"][0]["precision"] == "float32"
    assert document["checkpoint"] == str(Path("elsewhere/two/model.safetensors"))
    assert [stage["steps"] for stage in document["stages"]] == [1, 1]
    assert document["stages"][0]["images"] == 3
    assert json.loads(Path("elsewhere/one/settings.json").read_text())["seed"] == 4
    assert not Path("out").exists()


def test_an_interrupt_prints_how_to_continue(
    ovrcoat: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StageTrainer, "_step", interrupt)
    assert ovrcoat("c.yaml") == 130
    assert "interrupted; run the same command again to continue" in capsys.readouterr().err
    monkeypatch.undo()


def test_a_terminated_training_ends_with_the_status_of_its_signal(
    ovrcoat: Command, monkeypatch: pytest.MonkeyPatch
):
    def terminate(*_: object) -> None:
        raise Terminated(signal.SIGTERM)

    monkeypatch.setattr(StageTrainer, "_step", terminate)
    assert ovrcoat("c.yaml") == 143
    monkeypatch.undo()


def test_warnings_are_printed(ovrcoat: Command, capsys: pytest.CaptureFixture[str]):
    settings = ("--set", "vocabulary=cat", "--set", "stages.0.data.0.held_out=0.004")
    assert ovrcoat("c.yaml", *settings) == 0
    shown = capsys.readouterr().err
    assert "warning: only 1 of 3 categories of the data have a class name in the training vocabulary" in shown
    assert "(2 ×: sky (2 segments); zebra (1 segment))" in shown
    assert "warning: full: held_out is 0.004, but none of the 3 images is held out" in shown


def test_a_damaged_image_is_one_line_that_names_the_file(ovrcoat: Command):
    """Damaged in the middle: the check before the first step cannot notice it, the workers do."""
    path = Path("full/images/full1.png")
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(64) + content[middle + 64 :])
    options = ("--quiet", "--set", "stages.0.schedule.steps=8")
    for workers in (0, 1):
        with pytest.raises(DatasetError) as caught:
            ovrcoat("c.yaml", *options, "--set", f"workers={workers}", "--output", f"out{workers}")
        assert str(caught.value).startswith("full/images/full1.png: the image is truncated or damaged")
        assert len(str(caught.value).splitlines()) == 1


def test_only_the_first_process_prints(
    ovrcoat: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANK", "1")
    assert ovrcoat("c.yaml") == 0
    assert capsys.readouterr() == ("", "")


def test_errors_are_raised_to_the_caller(ovrcoat: Command):
    with pytest.raises(ConfigError, match="unknown key; did you mean 'seed'"):
        ovrcoat("c.yaml", "--set", "sed=1")
    with pytest.raises(ConfigError, match=r"cannot read missing\.yaml"):
        ovrcoat("missing.yaml")
    assert ovrcoat("c.yaml", "--quiet") == 0
    message = (
        r"one.settings\.json was made with other settings \(seed: 0 then, 1 now\); restore the old settings"
    )
    with pytest.raises(TrainingError, match=message):
        ovrcoat("c.yaml", "--set", "seed=1")
