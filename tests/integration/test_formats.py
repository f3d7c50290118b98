"""`ovrcoat segment --format`: from arguments to files, with resume, --json and --overwrite."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovrcoat.cli.run import Run
from ovrcoat.results.exports.table import DEFAULT_FORMATS, FORMATS

VOCABULARY = "cat, kitty; dog#thing; sky#stuff; road#stuff"
ANY_TASK = ("--vocabulary", VOCABULARY, "--background", "none", "--output", "out")
OPTIONS = (*ANY_TASK, "--overlap-threshold", 0)

pytestmark = pytest.mark.usefixtures("tiny_model")


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("task", DEFAULT_FORMATS)
def test_all_formats_of_a_task_at_once(ovrcoat, folder: Path, task: str):
    pytest.importorskip("pycocotools")
    names = [name for name, row in FORMATS.items() if task in row.tasks]
    outcome = ovrcoat(
        "segment", "photo.jpg", *ANY_TASK, "--task", task, "--format", ",".join(names), "--json"
    )
    assert (outcome.status, outcome.err.count("error")) == (0, 0)
    (image,) = outcome.document["images"]
    assert all((folder / path).exists() for path in image["written"])
    own = set(DEFAULT_FORMATS.values())
    assert {Path(path).parts[1] for path in image["written"]} - {"photo.png", "photo.overlay.jpg"} == (
        set(names) - own
    )


def test_one_format_is_written_alone_and_refers_to_the_image(ovrcoat, folder: Path):
    assert ovrcoat("segment", "photo.jpg", *OPTIONS, "--format", "labelme").status == 0
    assert written(folder / "out") == ["labelme/labels.txt", "labelme/photo.json", "run.json"]
    document = json.loads((folder / "out" / "labelme" / "photo.json").read_text())
    assert (document["imagePath"], document["imageData"]) == ("../../photo.jpg", None)


def test_a_format_that_does_not_fit_the_task_ends_before_the_work(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", *ANY_TASK, "--task", "semantic", "--format", "yolo")
    assert outcome.status == 2
    assert "the format yolo holds results of the task panoptic or instance" in outcome.err
    assert not (folder / "out").exists()
    assert "'voc' is not a format; choose from" in ovrcoat("segment", "photo.jpg", "--format", "voc").err


def test_labels_of_others_are_kept_without_overwrite(ovrcoat, folder: Path):
    label = folder / "out" / "yolo" / "labels" / "photo.txt"
    label.parent.mkdir(parents=True)
    label.write_text("0 0.1 0.1 0.2 0.1 0.2 0.2\n")
    outcome = ovrcoat("segment", "photo.jpg", *OPTIONS, "--format", "yolo")
    assert (outcome.status, label.read_text()) == (2, "0 0.1 0.1 0.2 0.1 0.2 0.2\n")
    assert "photo.txt exists with other contents" in outcome.err
    assert ovrcoat("segment", "photo.jpg", *OPTIONS, "--format", "yolo", "--overwrite").status == 0
    assert label.read_text() != "0 0.1 0.1 0.2 0.1 0.2 0.2\n"


def test_an_interrupted_run_is_continued(
    ovrcoat, folder: Path, image_pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("pycocotools")
    for name in ("a", "b", "c"):
        Image.fromarray(image_pixels).save(folder / f"{name}.png")
    command = (
        "segment",
        "a.png",
        "b.png",
        "c.png",
        *OPTIONS,
        "--format",
        "coco-panoptic,jsonl,coco-instances,npz",
        "--json",
    )
    report, reported = Run._report, []

    def interrupt(self: Run, *arguments) -> None:
        report(self, *arguments)
        reported.append(1)
        if len(reported) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "_report", interrupt)
    assert ovrcoat(*command).status == 130
    monkeypatch.setattr(Run, "_report", report)
    outcome = ovrcoat(*command)
    assert "resumed: " in outcome.err
    assert [Path(image["file"]).stem for image in outcome.document["images"]] == ["a", "b", "c"]
    assert [len(image["written"]) for image in outcome.document["images"]] == [5, 5, 5]
    lines = (folder / "out" / "jsonl" / "segments.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["output"] for line in lines) == ["a", "b", "c"]
    document = json.loads((folder / "out" / "coco-instances" / "instances.json").read_text())
    assert sorted(image["output"] for image in document["images"]) == ["a", "b", "c"]
    assert "interrupted" not in document
