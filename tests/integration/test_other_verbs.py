"""`ovrcoat models`, `vocabularies`, `convert` and `doctor`."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from ovrcoat import __version__
from ovrcoat.checkpoints import foreign, native
from ovrcoat.checkpoints.catalog import ModelEntry
from ovrcoat.cli.doctor import MODULES
from ovrcoat.errors import CheckpointError
from ovrcoat.system.folder_lock import FolderLock
from ovrcoat.vocabulary import Vocabulary, list_presets


def test_version(ovrcoat):
    outcome = ovrcoat("--version")
    assert (outcome.status, outcome.out) == (0, f"{__version__}\n")


def test_models_are_listed_with_the_way_to_get_them(ovrcoat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OVRCOAT_MODELS", str(tmp_path))
    (tmp_path / "mine.safetensors").write_bytes(b"")
    listed = {entry["name"]: entry for entry in ovrcoat("models", "--json").document}
    assert {"nano", "fcclip-convnext-large", "ovrcoat-convnext-large", "mine"} <= set(listed)
    assert listed["mine"]["path"] == str(tmp_path / "mine.safetensors")
    assert "ovrcoat convert" in listed["fcclip-convnext-large"]["remedy"]
    table = ovrcoat("models").out
    assert all(name in table for name in listed)
    assert "not installed: download its .pth file" in table


def test_encoders_are_listed_with_the_license_of_their_weights(ovrcoat):
    listed = {entry["name"]: entry for entry in ovrcoat("models", "--encoders", "--json").document}
    assert listed["convnext_large_d_320"] == {
        "name": "convnext_large_d_320",
        "embedding_dim": 768,
        "weights": "laion2b_s29b_b131k_ft_soup",
        "license": "MIT",
    }
    assert all(entry["license"] for entry in listed.values() if entry["weights"])
    assert listed["convnext_tiny"]["weights"] is None
    assert all(name in ovrcoat("models", "--encoders").out for name in listed)


def test_presets_are_listed(ovrcoat):
    listed = ovrcoat("vocabularies", "--json").document
    assert [preset["name"] for preset in listed] == list(list_presets())
    assert {"name": "coco", "categories": 133, "things": 80} in listed
    assert all(name in ovrcoat("vocabularies").out for name in list_presets())


def test_one_vocabulary_is_shown_with_who_says_thing_or_stuff(ovrcoat):
    lines = ovrcoat("vocabularies", "cat, kitty; wall; gizmo; fog#stuff").out.splitlines()
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert rows == [
        ["1", "cat", "thing", "kitty"],
        ["2", "wall", "stuff"],
        ["3", "gizmo", "thing", "(by", "default)"],
        ["4", "fog", "stuff"],
    ]


def test_the_json_of_a_vocabulary_is_a_vocabulary_file(ovrcoat, tmp_path: Path):
    path = tmp_path / "mine.json"
    path.write_text(ovrcoat("vocabularies", "cat, kitty; wall#stuff", "--json").out)
    again = Vocabulary.load(path)
    assert [(category.names, category.is_thing) for category in again.categories] == [
        (("cat", "kitty"), True),
        (("wall",), False),
    ]


def test_a_vocabulary_with_errors_is_shown_and_refused(ovrcoat):
    outcome = ovrcoat("vocabularies", "cat; dog, cat")
    assert outcome.status == 2
    assert "error: names belong to more than one category" in outcome.err
    assert "dog" in outcome.out


def test_a_vocabulary_with_doubts_is_shown_with_them(ovrcoat):
    outcome = ovrcoat("vocabularies", "cat, dog")
    assert outcome.status == 0
    assert outcome.err.startswith("warning: this is ONE category with 2 names")


def test_convert_tells_what_was_dropped_and_filled(ovrcoat, monkeypatch: pytest.MonkeyPatch):
    dropped = {f"frozen.{index}": "a second copy of CLIP" for index in range(5)} | {
        "criterion": "of training"
    }
    report = foreign.ImportReport(source="in.pth", sha256="abc", dropped=dropped, filled=("encoder.text",))
    monkeypatch.setattr(foreign, "convert", lambda source, target, clip, arrangement: report)
    out = ovrcoat("convert", "in.pth", "out.safetensors").out
    assert "in.pth (SHA-256 abc) → out.safetensors" in out
    assert "dropped, a second copy of CLIP: frozen.0, frozen.1, frozen.2 and 2 more (--json lists all)" in out
    assert "dropped, of training: criterion" in out
    assert "filled in from OpenCLIP's weights: encoder.text" in out
    document = ovrcoat("convert", "in.pth", "out.safetensors", "--json").document
    assert document["dropped"] == dropped
    assert document["filled"] == ["encoder.text"]


def test_convert_refuses_what_another_process_writes(ovrcoat, tmp_path: Path):
    with FolderLock(tmp_path, prefix=".out.safetensors"):
        refused = ovrcoat("convert", "in.pth", str(tmp_path / "out.safetensors"))
    assert refused.status == 2
    assert f"is in use by process {os.getpid()} on " in refused.err


def test_convert_tells_which_form_of_maft_plus_was_chosen(ovrcoat, monkeypatch: pytest.MonkeyPatch):
    def convert(source: Path, target: Path, *, clip: Path | None, arrangement: str | None):
        return foreign.ImportReport(source.name, "abc", dropped={}, filled=(), arrangement=arrangement)

    monkeypatch.setattr(foreign, "convert", convert)
    chosen = ovrcoat("convert", "in.pth", "out.safetensors", "--arrangement", "semantic")
    assert "MAFT+ with semantic weights (--arrangement)" in chosen.out
    assert "MAFT+" not in ovrcoat("convert", "in.pth", "out.safetensors").out
    wrong = ovrcoat("convert", "in.pth", "out.safetensors", "--arrangement", "both")
    assert wrong.status == 2
    assert "panoptic" in wrong.err


@pytest.fixture
def one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """nano as the only model, and sound: its file is checked elsewhere."""
    entries = (ModelEntry("nano", "small", Path("nano.safetensors")),)
    monkeypatch.setattr("ovrcoat.checkpoints.catalog.list_models", lambda: entries)
    monkeypatch.setattr(native, "load", lambda path: None)


def issues(document: list[dict[str, object]]) -> dict[object, dict[str, object]]:
    return {issue["subject"]: issue for issue in document}


@pytest.mark.usefixtures("one_model")
def test_doctor_tells_versions_devices_models_and_folders(ovrcoat):
    outcome = ovrcoat("doctor", "--json")
    told = issues(outcome.document)
    assert outcome.status == 0, [issue for issue in told.values() if issue["status"] != "ok"]
    assert told["torch"]["detail"] == metadata.version("torch")
    assert told["pycocotools (extra coco)"]["needed"] is False
    assert told["device cpu"]["status"] == told["model nano"]["status"] == "ok"
    assert any(str(subject).startswith("folder ") for subject in told)
    assert "torchvision" in ovrcoat("doctor").out


@pytest.mark.usefixtures("one_model")
def test_doctor_tells_what_is_missing_old_or_broken(ovrcoat, monkeypatch: pytest.MonkeyPatch):
    versions = {"torch": "2.0", "timm": "1.0.20"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    wanted = ["torch>=2.6", "timm>=1.0.17,<2", "scipy>=1.11", 'pycocotools>=2.0.8; extra == "coco"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wanted)
    monkeypatch.setattr("importlib.metadata.version", version)
    monkeypatch.setitem(MODULES, "timm", "no_module_of_this_name")
    outcome = ovrcoat("doctor", "--json")
    told = issues(outcome.document)
    assert outcome.status == 1
    assert (told["torch"]["status"], told["torch"]["detail"]) == ("broken", "2.0, needs >=2.6")
    assert told["torch"]["remedy"] == "Run: pip install 'torch>=2.6'"
    assert "ModuleNotFoundError" in str(told["timm"]["detail"])
    assert (told["scipy"]["status"], told["scipy"]["needed"]) == ("missing", True)
    extra = told["pycocotools (extra coco)"]
    assert (extra["status"], extra["needed"]) == ("missing", False)
    assert extra["remedy"] == "Run: pip install 'ovrcoat[coco]'"


@pytest.mark.usefixtures("one_model")
def test_doctor_tells_of_a_damaged_model(ovrcoat, monkeypatch: pytest.MonkeyPatch):
    def broken(path: Path) -> None:
        raise CheckpointError("nano-text.safetensors is not the file that nano.safetensors was saved with")

    monkeypatch.setattr(native, "load", broken)
    outcome = ovrcoat("doctor", "--json")
    told = issues(outcome.document)["model nano"]
    assert (outcome.status, told["status"]) == (1, "broken")
    assert "nano-text.safetensors" in str(told["detail"])


@pytest.mark.usefixtures("one_model")
def test_doctor_tells_of_a_folder_that_cannot_be_written(
    ovrcoat, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OVRCOAT_MODELS", str(tmp_path / "file" / "models"))
    outcome = ovrcoat("doctor", "--json")
    told = issues(outcome.document)[f"folder {tmp_path / 'file' / 'models'}"]
    assert (told["status"], told["needed"]) == ("broken", False)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_has_seen_enough_ends_the_run_without_noise(options: tuple[str, ...]):
    command = [sys.executable, "-m", "ovrcoat", "vocabularies", "lvis", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_no_color_is_honoured():
    colors = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "80"}
    command = [sys.executable, "-m", "ovrcoat", "vocabularies"]
    with_colors = subprocess.run(command, env=colors, capture_output=True, check=True).stdout
    without = subprocess.run(command, env={**colors, "NO_COLOR": "1"}, capture_output=True, check=True).stdout
    assert b"\x1b[" in with_colors
    assert b"\x1b[3" not in without  # bold may stay, colours not
