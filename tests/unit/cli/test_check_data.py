"""`ovrcoat check-data`: what is printed, in which order, and the exit status."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cyclopts import App
from PIL import Image

from ovrcoat.cli.check_data import check_data
from ovrcoat.errors import ConfigError, DatasetError

RUNS = {"size": [2, 2], "counts": [1, 3]}


def run(*arguments: object) -> int:
    app = App(result_action="return_value", exit_on_error=False, print_error=False)
    app.command(check_data)
    return app(["check-data", *map(str, arguments)])


@pytest.fixture
def semantic(tmp_path: Path) -> Path:
    """A folder of seven images; the last six have labels that no name has."""
    for folder in ("images", "labels"):
        (tmp_path / "own" / folder).mkdir(parents=True)
    for number in range(7):
        Image.new("RGB", (3, 2)).save(tmp_path / f"own/images/{number}.png")
        Image.fromarray(np.full((2, 3), number, np.uint8)).save(tmp_path / f"own/labels/{number}.png")
    (tmp_path / "own/names.txt").write_text("0: cat\n")
    return tmp_path / "own"


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    annotation = {"id": 0, "image_id": 1, "category_id": 7, "iscrowd": 0, "area": 3, "segmentation": RUNS}
    document = {
        "images": [{"id": 1, "width": 2, "height": 2}],
        "categories": [{"id": 7, "name": "bed"}],
        "annotations": [annotation],
    }
    return write(tmp_path / "instances.json", document)


def panoptic(folder: Path, name: str, image_id: object) -> tuple[Path, Path]:
    """A panoptic JSON of one image that is one segment, and the folder of its PNG."""
    (folder / name).mkdir()
    Image.new("RGB", (3, 2), (1, 0, 0)).save(folder / name / "a.png")
    segments = [{"id": 1, "category_id": 1, "area": 6, "iscrowd": 0}]
    document = {
        "images": [{"id": image_id, "file_name": "a.jpg", "width": 3, "height": 2}],
        "annotations": [{"image_id": image_id, "file_name": "a.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": "cat", "isthing": 1}],
    }
    return write(folder / f"{name}.json", document), folder / name


def test_good_data_are_called_so(semantic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(semantic, "--limit", 1) == 0
    summary = "serves the tasks: semantic\n\nno issues found in 1 image\n"
    assert capsys.readouterr().out == f"{semantic}: 1 image\n{summary}"


def test_issues_are_counted_with_the_first_examples(
    semantic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(semantic) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{semantic}: 7 images"
    assert "error labels-unusable, 6 ×" in lines
    assert sum(line.startswith("  - ") for line in lines) == 5 + 1
    assert "  - … and 1 more" in lines
    assert lines[-1] == "1 error, 0 warnings"


def test_errors_come_before_warnings_and_notes(
    instances: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"image_id": 1, "category_id": 7, "segmentation": {"size": [2, 2], "counts": [4]}}
    results = write(tmp_path / "results.json", [result])
    assert run("--instances", instances, "--results", results) == 1
    lines = capsys.readouterr().out.splitlines()
    levels = [line.split()[0] for line in lines if line.endswith("×")]
    assert levels == ["error", "warning", "note"]
    assert lines[-1] == "1 error, 1 warning"


def test_warnings_alone_leave_the_status_good(instances: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--instances", instances, "--quiet") == 0
    assert capsys.readouterr().out == "0 errors, 1 warning\n"


def test_panoptic_files_are_checked_with_and_without_prediction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, truth_dir = panoptic(tmp_path, "truth", 1)
    prediction, prediction_dir = panoptic(tmp_path, "prediction", "1")
    given = ("--truth", truth, "--truth-dir", truth_dir)
    assert run(*given) == 0
    assert capsys.readouterr().out.endswith("no issues found in 1 image\n")
    assert run(*given, "--prediction", prediction, "--prediction-dir", prediction_dir) == 1
    assert "error image-id-type, 1 ×" in capsys.readouterr().out


def test_json_goes_to_a_file_or_to_stdout(
    semantic: Path, instances: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (semantic, "--instances", instances, "--json")
    assert run(*given, tmp_path / "out.json") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 error, 1 warning"
    assert run(*given, "-") == 1
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "out.json").read_text())
    assert (document["errors"], document["warnings"]) == (1, 1)
    assert [check["images"] for check in document["checks"]] == [7, 1]
    issue = document["checks"][0]["issues"][0]
    assert (issue["code"], issue["severity"], issue["count"]) == ("labels-unusable", "error", 6)
    assert len(issue["examples"]) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to check; name a dataset"),
        (("--truth", "a.json"), "--truth was given without --truth-dir"),
        (("--truth-dir", "a"), "--truth-dir was given without --truth;"),
        (("--prediction", "a.json"), "--prediction was given without --prediction-dir"),
        (("--prediction-dir", "a"), "--prediction-dir was given without --prediction;"),
        (("--prediction", "a.json", "--prediction-dir", "a"), "--prediction was given without --truth;"),
        (("--results", "a.json"), "--results was given without --instances"),
    ],
)
def test_incomplete_pairs_are_rejected(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(*arguments)


def test_missing_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cannot read .*none\.json"):
        run("--instances", tmp_path / "none.json")


def test_torch_is_not_imported(semantic: Path, instances: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from ovrcoat.cli.check_data import Files, check_data; "
        f"check_data({str(semantic)!r}, files=Files(instances=Path({str(instances)!r})), quiet=True); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
