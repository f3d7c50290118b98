"""The verb from options to tables, JSON and status."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cyclopts import App
from PIL import Image

from ovrcoat.cli.score import score
from ovrcoat.errors import ConfigError, DatasetError, VocabularyError
from panoptic_pairs import truth_document, write_pair


def run(*tokens: object) -> int:
    app = App(result_action="return_value", exit_on_error=False, print_error=False)
    app.command(score)
    return app(["score", *map(str, tokens)])


@pytest.fixture
def panoptic(tmp_path: Path) -> tuple[object, ...]:
    truth, truth_dir, prediction, prediction_dir = write_pair(tmp_path)
    sides = ("--truth", truth, "--truth-dir", truth_dir)
    return (*sides, "--prediction", prediction, "--prediction-dir", prediction_dir)


def test_tables_show_groups_then_categories(panoptic: tuple, capsys: pytest.CaptureFixture[str]):
    assert run(*panoptic, "--seen", "cat") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("2 images, areas from the JSON; percent")
    rows = [line.split() for line in out.splitlines() if line.strip()]
    assert ["All", "82.9", "82.9", "100.0", "2"] in rows
    assert ["Unseen", "Things", "-", "-", "-", "0"] in rows
    assert ["cat", "1", "thing,", "seen", "80.0", "80.0", "100.0", "2", "0", "0"] in rows
    assert ["wall", "7", "stuff", "85.7", "85.7", "100.0", "2", "0", "0"] in rows


def test_json_on_stdout_is_one_document(panoptic: tuple, capsys: pytest.CaptureFixture[str]):
    assert run(*panoptic, "--seen-ids", "7,1", "--json", "-") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["seen_category_ids"] == [1, 7]
    assert figures["groups"]["All"]["pq"] == pytest.approx((4 / 5 + 6 / 7) / 2)


def test_json_goes_into_a_file_beside_the_tables(
    panoptic: tuple, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(*panoptic, "--json", tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text())["unit"] == "fraction (0..1)"
    assert "All" in capsys.readouterr().out


def test_quiet_prints_nothing(panoptic: tuple, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(*panoptic, "--seen-ids", "99", "--quiet", "--json", tmp_path / "out.json") == 0
    assert capsys.readouterr() == ("", "")
    [issue] = json.loads((tmp_path / "out.json").read_text())["issues"]
    assert issue["code"] == "seen-id-unknown"


@pytest.mark.parametrize(("areas", "percent"), [("json", "76.4"), ("png", "82.9")])
def test_areas_that_differ_are_reported_whichever_is_used(
    areas: str, percent: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    document = truth_document()
    document["annotations"][0]["segments_info"][1]["area"] = 9
    truth, truth_dir, prediction, prediction_dir = write_pair(tmp_path, document)
    sides = ("--truth", truth, "--truth-dir", truth_dir, "--prediction", prediction)
    assert run(*sides, "--prediction-dir", prediction_dir, "--areas", areas) == 0
    out, err = capsys.readouterr()
    assert ["All", percent] in [line.split()[:2] for line in out.splitlines()]
    assert "warning: the area of a ground-truth segment in the JSON is not its number of pixels" in err
    assert "(1 ×: image 1, segment 70000: JSON 9, pixels 6)" in err


def test_errors_stop_it_and_are_all_listed(panoptic: tuple, tmp_path: Path):
    (tmp_path / "prediction" / "1.png").unlink()
    Image.new("L", (4, 3)).save(tmp_path / "prediction" / "2.png")
    with pytest.raises(DatasetError, match=r"(?s)PNG file is missing.*not 8-bit RGB.*image 2, prediction"):
        run(*panoptic)


def test_names_without_a_class_are_refused_as_names_of_values(tmp_path: Path):
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ncat\n")
    with pytest.raises(
        ConfigError, match=r"labels\.txt: names stand for no class \(__ignore__, _background_\)"
    ):
        run(
            *("--task", "semantic", "--truth-dir", tmp_path, "--prediction-dir", tmp_path),
            *("--categories", tmp_path / "labels.txt"),
        )


def test_semantic_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for side, values in (("truth", [[0, 1, 255]]), ("prediction", [[0, 0, 0]])):
        (tmp_path / side).mkdir()
        Image.fromarray(np.array(values, dtype=np.uint8)).save(tmp_path / side / "a.png")
    folders = ("--truth-dir", tmp_path / "truth", "--prediction-dir", tmp_path / "prediction")
    assert run("--task", "semantic", *folders, "--categories", "2", "--json", "-") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["mIoU"] == pytest.approx(25)
    assert figures["class_names"] == ["0", "1"]
    assert run("--task", "semantic", *folders, "--categories", "cat; wall") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["25.0", "25.0", "50.0", "50.0"] in rows
    assert ["cat", "50.0", "100.0"] in rows


def test_instances(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mask = pytest.importorskip("pycocotools.mask")
    runs = mask.encode(np.asfortranarray(np.ones((8, 8), dtype=np.uint8)))
    region = {"size": [8, 8], "counts": runs["counts"].decode()}
    truth = {
        "images": [{"id": 1, "width": 8, "height": 8}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "segmentation": region, "area": 64, "iscrowd": 0}
            | {"bbox": [0, 0, 8, 8]}
        ],
    }
    results = [{"image_id": 1, "category_id": 3, "score": 0.5, "segmentation": region}]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    files = ("--truth", tmp_path / "truth.json", "--prediction", tmp_path / "results.json")
    assert run("--task", "instance", *files) == 0
    assert ["cat", "3", "100.0", "100.0"] in [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ((), "--task panoptic needs --truth, --truth-dir, --prediction, --prediction-dir"),
        (("--task", "semantic", "--truth-dir", "a"), "needs --prediction-dir, --categories"),
        (
            ("--task", "instance", "--truth", "a", "--prediction", "b", "--seen", "coco", "--ignore", "0"),
            "does not support --seen, --ignore, expected --truth, --prediction",
        ),
    ],
)
def test_options_must_fit_the_task(tokens: tuple[str, ...], message: str):
    with pytest.raises(ConfigError, match=message):
        run(*tokens)


def test_seen_is_given_once_and_in_numbers(panoptic: tuple):
    with pytest.raises(ConfigError, match="--seen and --seen-ids exclude each other"):
        run(*panoptic, "--seen", "coco", "--seen-ids", "1")
    with pytest.raises(ConfigError, match="--seen-ids is '1,x', expected integers"):
        run(*panoptic, "--seen-ids", "1,x")
    with pytest.raises(VocabularyError, match=r"nowhere\.txt"):
        run(*panoptic, "--seen", "nowhere.txt")


def test_it_runs_without_torch(panoptic: tuple):
    program = (
        "import sys; from cyclopts import App; from ovrcoat.cli.score import score\n"
        "assert not {'PIL', 'numpy', 'torch'} & set(sys.modules)\n"
        "app = App(result_action='return_value'); app.command(score); status = app(sys.argv[1:])\n"
        "sys.exit(status or 10 * ('torch' in sys.modules))"
    )
    tokens = ["score", *map(str, panoptic)]
    done = subprocess.run(
        [sys.executable, "-c", program, *tokens], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "82.9" in done.stdout
