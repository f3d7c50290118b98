import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cyclopts import App
from PIL import Image

from ovrcoat.cli.prepare import prepare
from ovrcoat.errors import ConfigError, DatasetError


def run(*arguments: str) -> int:
    app = App(name="ovrcoat", result_action="return_value", exit_on_error=False, print_error=False)
    app.command(prepare)
    return app(["prepare", *arguments])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Cityscapes with one image's labels."""
    folder = tmp_path / "cityscapes" / "gtFine" / "val" / "ulm"
    folder.mkdir(parents=True)
    values = np.array([[7, 26_000], [24, 1]], dtype=np.uint16)
    Image.fromarray(values).save(folder / "ulm_000001_000002_gtFine_instanceIds.png")
    return tmp_path


def test_files_are_made_once(root: Path, capsys: pytest.CaptureFixture[str]):
    made = root / "cityscapes" / "gtFine" / "cityscapes_panoptic_val.json"
    assert run("cityscapes", str(root)) == 0
    assert capsys.readouterr().out == f"1 images → {made}\n"
    assert run("cityscapes", str(root)) == 0
    assert capsys.readouterr().out.startswith(f"nothing to do: {made} already exist; --overwrite creates")
    assert run("cityscapes", str(root), "--overwrite", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_the_root_may_come_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OVRCOAT_DATASETS", str(root))
    assert run("cityscapes", "--quiet") == 0
    assert (root / "cityscapes" / "gtFine" / "cityscapes_panoptic_val").is_dir()


@pytest.mark.parametrize("name", ["coco", "mapillary"])
def test_complete_releases_need_nothing(name: str, capsys: pytest.CaptureFixture[str]):
    assert run(name) == 0
    assert capsys.readouterr().err == f"{name} needs no preparation: its release includes panoptic files\n"
    assert run(name, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_an_unknown_dataset_is_reported():
    with pytest.raises(DatasetError, match="unknown dataset 'lvis'; choose one of ade20k, cityscapes, coco"):
        run("lvis")


def test_published_areas_are_for_ade20k_only(root: Path):
    with pytest.raises(ConfigError, match="--published-areas applies to ade20k, not to cityscapes"):
        run("cityscapes", str(root), "--published-areas")


def test_published_areas_reach_the_conversion(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("pycocotools")
    home = tmp_path / "ADEChallengeData2016"
    for folder in ("annotations", "annotations_instance"):
        (home / folder / "validation").mkdir(parents=True)
    Image.fromarray(np.full((2, 2), 3, dtype=np.uint8)).save(home / "annotations/validation/a.png")
    labels = np.array([[[1, 1, 0], [0, 0, 0]]] * 2, dtype=np.uint8)
    Image.fromarray(labels).save(home / "annotations_instance/validation/a.png")
    assert run("ade20k", str(tmp_path), "--published-areas") == 0
    text = (home / "ade20k_panoptic_val.json").read_text()
    assert '"category_id": 2, "area": 4' in text
    assert run("ade20k", str(tmp_path), "--overwrite") == 0
    assert '"category_id": 2, "area": 2' in (home / "ade20k_panoptic_val.json").read_text()
    assert capsys.readouterr().out.count("1 images → ") == 2


def test_neither_the_verb_nor_the_data_sets_need_torch():
    script = (
        "import sys; import ovrcoat.cli.prepare, ovrcoat.data.catalog, ovrcoat.data.ade20k_panoptic, "
        "ovrcoat.data.cityscapes_panoptic; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
