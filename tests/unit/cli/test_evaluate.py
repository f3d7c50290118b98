"""`ovrcoat evaluate` on a tiny network: what is printed, what is written, which status."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cyclopts import App

from labelled_images import make_labelled_folder
from ovrcoat.cli.evaluate import evaluate
from ovrcoat.errors import ConfigError, DatasetError, OutputError
from ovrcoat.evaluation import evaluator
from ovrcoat.evaluation.reports.report import EvaluationReport
from ovrcoat.segmentation.segmenter import Segmenter

Command = Callable[..., int]


@pytest.fixture
def ovrcoat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_segmenter: Segmenter) -> Command:
    """Run `ovrcoat evaluate ARGUMENTS...` in a folder that holds the labelled folder "mine"."""
    monkeypatch.chdir(tmp_path)
    make_labelled_folder(tmp_path / "mine", tiny_segmenter, images=2)
    monkeypatch.setattr(Segmenter, "load", lambda model, **options: tiny_segmenter)
    app = App(result_action="return_value", exit_on_error=False, suppress_keyboard_interrupt=False)
    app.command(evaluate)

    def run(*arguments: object) -> int:
        return app(["evaluate", *map(str, arguments)], print_error=False)

    return run


def test_tables_and_files(ovrcoat: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert ovrcoat("--data", "mine", "--model", "weights/my-model.safetensors") == 0
    shown = capsys.readouterr()
    assert "γ = 0.5, panoptic quality" in shown.out
    assert "outcomes of ground-truth segments" in shown.out
    assert "data: mine, 2 images, model: weights/my-model.safetensors, γ: 0,0.5" in shown.err
    folder = tmp_path / "ovrcoat-evaluation" / "mine"
    report = EvaluationReport.read(folder / "report.json")
    assert report.trusts == (0.0, 0.5)
    assert report.model.name == "my-model.safetensors"
    assert "| setting | value |" in (folder / "report.md").read_text()
    assert len((folder / "per_category.csv").read_text().splitlines()) == 1 + 2 * 4
    assert (folder / "journal.jsonl").is_file()


def test_all_options_are_used(ovrcoat: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    status = ovrcoat(
        *("--data", tmp_path / "mine", "--trust", "0.25", "--task", "panoptic, semantic", "--limit", 1),
        *(
            "--vocabulary",
            "cat, kitty; dog",
            "--background",
            "house; tree",
            "--seen",
            "road",
            "--areas",
            "png",
        ),
        *("--protocol", "model", "--short-side", 96, "--max-long-side", 128, "--output", "out"),
        *("--save-predictions", "predictions", "--oracle", "--json", "copy.json", "--quiet"),
    )
    assert status == 0
    assert capsys.readouterr() == ("", "")
    report = EvaluationReport.read(Path("out/report.json"))
    assert Path("copy.json").read_text() == Path("out/report.json").read_text()
    assert Path("predictions/trust-0.25/panoptic.json").is_file()
    assert report.trusts == (0.25,)
    assert report.runs[0].semantic is not None
    assert report.categories[0].names == ("cat", "kitty")
    assert report.seen_category_ids == (4,)
    expected = {
        "background": "house; tree",
        "areas": "png",
        "short_side": 96,
        "limit": 1,
        "oracle": True,
        "test_size": "custom",
        "seen": "road",
    }
    assert {key: report.protocol[key] for key in expected} == expected


def test_json_to_stdout_is_complete(ovrcoat: Command, capsys: pytest.CaptureFixture[str]):
    assert ovrcoat("--data", "mine", "--json", "-") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["data"]["images"] == 2
    assert shown.out.isascii()


def test_the_same_command_resumes(
    ovrcoat: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    assert ovrcoat("--data", "mine", "--limit", 1) == 0
    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "_evaluate_images", stop)
        assert ovrcoat("--data", "mine") == 130
    assert "run the same command again to resume" in capsys.readouterr().err
    assert ovrcoat("--data", "mine") == 0
    assert "1 of 2 images are from an earlier run" in capsys.readouterr().err
    with pytest.raises(OutputError, match="belongs to a different run"):
        ovrcoat("--data", "mine", "--trust", "1")
    assert ovrcoat("--data", "mine", "--trust", "1", "--overwrite") == 0


def test_a_skipped_image_is_reported(ovrcoat: Command, capsys: pytest.CaptureFixture[str]):
    Path("mine/images/photo1.png").write_bytes(b"no image")
    assert ovrcoat("--data", "mine", "--quiet") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: images could not be evaluated and are missing from all numbers" in shown.err


def test_an_invalid_trust_value(ovrcoat: Command):
    with pytest.raises(ConfigError, match="--trust: 'half' is not a valid trust value"):
        ovrcoat("--data", "mine", "--trust", "0,half")


def test_an_unknown_task(ovrcoat: Command):
    with pytest.raises(ConfigError, match="unknown task 'depth'"):
        ovrcoat("--data", "mine", "--task", "depth")


def test_a_missing_dataset(ovrcoat: Command):
    with pytest.raises(DatasetError, match="nowhere"):
        ovrcoat("--data", "nowhere")
