"""`ovrcoat segment` from arguments to files, on a tiny network."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovrcoat.cli.run import Run
from ovrcoat.data.find_images import search_images
from ovrcoat.errors import ImageError
from ovrcoat.segmentation.segmenter import Segmenter

WORDS = "cat, kitty; dog#thing; sky#stuff; road#stuff"

pytestmark = pytest.mark.usefixtures("tiny_model")


def ids(path: Path) -> np.ndarray:
    """The id map of a panoptic PNG."""
    with Image.open(path) as image:
        return np.asarray(image).astype(int) @ [1, 256, 65536]


def test_one_image_gives_three_files_and_a_table(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", "--vocabulary", WORDS, "--overlap-threshold", 0)
    assert outcome.status == 0
    written = sorted(path.name for path in (folder / "ovrcoat-output").iterdir())
    assert written == ["panoptic.json", "photo.overlay.jpg", "photo.png"]
    assert "photo.jpg: 56 × 40 pixels" in outcome.out
    assert "images: 1, categories: 4, model: nano" in outcome.err


def test_the_id_map_and_the_document_agree(ovrcoat, folder: Path):
    ovrcoat(
        "segment",
        "photo.jpg",
        "--vocabulary",
        WORDS,
        "--overlap-threshold",
        0,
        "--background",
        "none",
        "--output",
        "out",
    )
    document = json.loads((folder / "out" / "panoptic.json").read_text())
    (annotation,) = document["annotations"]
    found, counts = np.unique(ids(folder / "out" / "photo.png"), return_counts=True)
    areas = {int(id): int(count) for id, count in zip(found, counts, strict=True) if id != 0}
    assert areas
    assert {info["id"]: info["area"] for info in annotation["segments_info"]} == areas
    assert {"score", "objectness", "objectness_before", "clip_confidence", "top"} <= set(
        annotation["segments_info"][0]
    )
    assert [category["name"] for category in document["categories"]] == ["cat", "dog", "sky", "road"]


def test_json_is_one_document_and_nothing_else_on_stdout(ovrcoat, folder: Path):
    outcome = ovrcoat(
        "segment", "photo.jpg", "--vocabulary", WORDS, "--json", "--overlap-threshold", 0, "--output", "out"
    )
    document = outcome.document
    assert (document["model"], document["task"], document["interrupted"]) == ("nano", "panoptic", False)
    assert document["vocabulary"]["categories"][0]["synonyms"] == ["kitty"]
    assert document["vocabulary"]["background"], "a short list has background words"
    (image,) = document["images"]
    assert (image["file"], image["width"], image["height"]) == ("photo.jpg", 56, 40)
    assert [Path(path).is_file() for path in image["written"]] == [True, True]
    assert {segment["category"] for segment in image["segments"]} <= {"cat", "dog", "sky", "road"}


def test_quiet_says_nothing(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", "--vocabulary", WORDS, "--quiet")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_without_words_the_vocabulary_is_coco_and_it_is_said(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", "--json")
    assert "categories: 133 of coco" in outcome.err
    assert outcome.document["vocabulary"]["name"] == "coco"


def test_doubts_about_the_words_are_told(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", "--vocabulary", "cat, cat; dog")
    assert outcome.status == 0
    assert re.search(r"warning: names are given twice in their category.*'cat'", outcome.err)


def test_class_names_without_the_option_get_a_hint(ovrcoat, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", "cat", "dog")
    assert outcome.status == 1
    assert 'hint: class names are given with --vocabulary "cat; dog"\n' in outcome.err
    assert "class names are given" not in ovrcoat("segment", "photo.jpg", "other.jpg").err


def test_a_score_threshold_leaves_out_weak_instances(ovrcoat, folder: Path):
    instances = ("segment", "photo.jpg", "--vocabulary", "cat; dog", "--task", "instance", "--json")
    scores = [s["score"] for s in ovrcoat(*instances).document["images"][0]["segments"]]
    threshold = (min(scores) + max(scores)) / 2
    outcome = ovrcoat(*instances, "--score-threshold", threshold)
    found = [s["score"] for s in outcome.document["images"][0]["segments"]]
    assert 0 < len(found) < len(scores)
    assert set(found) <= {score for score in scores if score >= threshold}


@pytest.mark.parametrize(
    ("option", "new"),
    [
        (("-v", "cat"), "--vocabulary"),
        (("--threshold", 0.5), "--object-mask-threshold (for --task instance: --score-threshold)"),
        (("--threshold=0.5",), "--object-mask-threshold (for --task instance: --score-threshold)"),
        (("--overlap", 0), "--overlap-threshold"),
    ],
)
def test_the_old_name_of_an_option_names_the_new_one(ovrcoat, folder: Path, option: tuple, new: str):
    outcome = ovrcoat("segment", "photo.jpg", *option)
    assert (outcome.status, outcome.out) == (2, "")
    assert (
        outcome.err
        == f"error: the option {option[0].split('=')[0]} of ovrcoat segment was renamed to {new}\n"
    )
    assert not (folder / "ovrcoat-output").exists()


@pytest.mark.parametrize(
    ("task", "files"),
    [
        ("semantic", ["photo.overlay.jpg", "photo.png", "semantic.json"]),
        ("instance", ["instances.json", "photo.overlay.jpg"]),
    ],
)
def test_other_tasks_write_their_own_document(ovrcoat, folder: Path, task: str, files: list[str]):
    outcome = ovrcoat("segment", "photo.jpg", "--vocabulary", WORDS, "--task", task, "--output", "out")
    assert outcome.status == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == files


def test_trust_changes_objectness_and_background_none_hides_no_words(ovrcoat, folder: Path):
    options = (
        "segment",
        "photo.jpg",
        "--vocabulary",
        WORDS,
        "--json",
        "--overlap-threshold",
        0,
        "--background",
        "none",
    )
    plain = ovrcoat(*options, "--trust", 0).document
    adjusted = ovrcoat(*options, "--trust", 1).document
    assert plain["vocabulary"]["background"] == []
    assert all(s["objectness"] == s["objectness_before"] for s in plain["images"][0]["segments"])
    assert all(s["objectness"] > s["objectness_before"] for s in adjusted["images"][0]["segments"])


def test_folders_and_patterns_name_images(ovrcoat, folder: Path):
    for name in ("a/one.jpg", "a/two.jpg", "b/three.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "photo.jpg", folder / name)
    outcome = ovrcoat("segment", "a", "b/*.jpg", "photo.jpg", "--vocabulary", WORDS, "--json")
    assert [image["file"] for image in outcome.document["images"]] == [
        "a/one.jpg",
        "a/two.jpg",
        "b/three.jpg",
        "photo.jpg",
    ]


def test_equal_names_in_two_folders_both_survive(ovrcoat, folder: Path):
    for name, size in (("a", (32, 32)), ("b", (32, 40))):
        (folder / name).mkdir()
        Image.new("RGB", size).save(folder / name / "cat.jpg")
    outcome = ovrcoat("segment", "a", "b", "--vocabulary", WORDS, "--json", "--output", "out")
    written = [image["written"] for image in outcome.document["images"]]
    assert written == [
        ["out/a-cat.png", "out/a-cat.overlay.jpg"],
        ["out/b-cat.png", "out/b-cat.overlay.jpg"],
    ]
    assert ids(folder / "out/a-cat.png").shape == (32, 32)
    assert ids(folder / "out/b-cat.png").shape == (40, 32)
    document = json.loads((folder / "out" / "panoptic.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["a-cat.jpg", "b-cat.jpg"]


def test_batches_change_no_result(ovrcoat, folder: Path):
    for index in range(3):
        shutil.copy(folder / "photo.jpg", folder / f"{index}.jpg")
    options = (
        "segment",
        "0.jpg",
        "1.jpg",
        "2.jpg",
        "--vocabulary",
        WORDS,
        "--json",
        "--overlap-threshold",
        0,
    )
    one_by_one = ovrcoat(*options).document["images"]
    together = ovrcoat(*options, "--batch-size", 2).document["images"]
    areas = [[[s["id"], s["area"], s["category"]] for s in image["segments"]] for image in one_by_one]
    assert [[[s["id"], s["area"], s["category"]] for s in image["segments"]] for image in together] == areas


def test_a_second_run_replaces_the_files_of_the_first(ovrcoat, folder: Path):
    ovrcoat("segment", "photo.jpg", "--vocabulary", WORDS)
    outcome = ovrcoat("segment", "photo.jpg", "--vocabulary", "house; tree")
    assert outcome.status == 0
    document = json.loads((folder / "ovrcoat-output" / "panoptic.json").read_text())
    assert [category["name"] for category in document["categories"]] == ["house", "tree"]


def test_interrupted_keeps_what_is_done(ovrcoat, folder: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copy(folder / "photo.jpg", folder / "second.jpg")
    real = Segmenter.predict_many

    def interrupted(*arguments: object, **options: object):
        answers = real(*arguments, **options)
        yield next(answers)
        raise KeyboardInterrupt

    monkeypatch.setattr(Segmenter, "predict_many", interrupted)
    outcome = ovrcoat(
        "segment", "photo.jpg", "second.jpg", "--vocabulary", WORDS, "--json", "--output", "out"
    )
    assert outcome.status == 130
    assert "error: interrupted; 1 of 2 images are done" in outcome.err
    assert outcome.document["interrupted"] is True
    assert [image["file"] for image in outcome.document["images"]] == ["photo.jpg"]
    assert len(json.loads((folder / "out" / "panoptic.json").read_text())["images"]) == 1


def test_an_interrupt_before_the_work_is_told(ovrcoat, folder: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*arguments: object, **options: object):
        raise KeyboardInterrupt

    monkeypatch.setattr("ovrcoat.cli.segmenters.load_segmenter", interrupt)
    outcome = ovrcoat("segment", "photo.jpg")
    assert (outcome.status, outcome.out) == (130, "")
    assert "error: interrupted" in outcome.err
    assert not (folder / "ovrcoat-output").exists()


def test_skipped_images_do_not_shift_the_others(ovrcoat, folder: Path):
    """Names and answers stay together, whatever fails in a batch."""
    for index in range(6):
        Image.new("RGB", (40, 24 + 8 * index)).save(folder / f"{index}.png")
    for broken in (0, 3, 4):
        (folder / f"{broken}.png").write_bytes(b"no image")
    outcome = ovrcoat(
        "segment", *(f"{i}.png" for i in range(6)), "--vocabulary", WORDS, "--json", "--batch-size", 4
    )
    assert outcome.status == 1
    heights = {image["file"]: image["height"] for image in outcome.document["images"]}
    assert heights == {"1.png": 32, "2.png": 40, "5.png": 64}
    assert [failure["file"] for failure in outcome.document["failed"]] == ["0.png", "3.png", "4.png"]


def test_tables_and_errors_come_in_the_order_of_the_images(
    ovrcoat, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Though the answers are written, and told, later than they are made."""
    for index in range(7):
        Image.new("RGB", (40, 40)).save(folder / f"{index}.png")
    for broken in (1, 2, 6):
        (folder / f"{broken}.png").write_bytes(b"no image")
    monkeypatch.setattr("sys.stderr", sys.stdout)  # as on a terminal
    outcome = ovrcoat("segment", *(f"{i}.png" for i in range(7)), "--vocabulary", WORDS)
    assert outcome.status == 1
    told = re.findall(r"^(?:error: )?(\d)\.png: ", outcome.out, flags=re.MULTILINE)
    assert told == ["0", "1", "2", "3", "4", "5", "6"]


def test_a_file_that_cannot_be_written_stops_the_run(ovrcoat, folder: Path):
    for index in range(9):
        Image.new("RGB", (40, 40)).save(folder / f"{index}.jpg")
    (folder / "out").mkdir()
    Image.new("RGB", (2, 2)).save(folder / "out" / "2.png")
    outcome = ovrcoat("segment", *(f"{i}.jpg" for i in range(9)), "--vocabulary", WORDS, "--output", "out")
    assert outcome.status == 2
    assert "2.png exists and was not written by ovrcoat" in outcome.err
    document = json.loads((folder / "out" / "panoptic.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["0.jpg", "1.jpg"]


def test_skip_remembers_the_reason():
    from ovrcoat.cli.options import OutputOptions

    run = Run(search_images("a.jpg"), OutputOptions())
    predictions = (pair for pair in [(Path("a.jpg"), ImageError("a.jpg: broken"))])
    assert list(run._results(predictions, {Path("a.jpg"): "a"})) == []
    assert (run.failed, run.status) == ({Path("a.jpg"): "a.jpg: broken"}, 1)
