"""Names, folders and files as they occur on disks: one that cannot be used never ends a run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovrcoat.data.images import read_image
from ovrcoat.segmentation.segmenter import Segmenter

WORDS = ("--vocabulary", "cat; sky#stuff", "--overlap-threshold", 0)


def without_end_marker(path: Path) -> None:
    path.write_bytes(path.with_name("photo.jpg").read_bytes()[:-2])


BAD_PATHS: dict[str, tuple[Callable[[Path], object], str]] = {
    "~nobody-of-this-name/photos": (lambda path: None, "there is no such file"),
    "loop.jpg": (lambda path: path.symlink_to(path.name), "the file cannot be opened (Too many levels"),
    "dangling.jpg": (
        lambda path: path.symlink_to("gone.jpg"),
        "the link leads to a file that does not exist",
    ),
    "a" * 300 + ".jpg": (lambda path: None, "the file cannot be opened (File name too long)"),
    "pipe.jpg": (os.mkfifo, "this is a pipe, not a file"),
    "/dev/zero": (lambda path: None, "this is a device, not a file"),
    "empty-folder": (Path.mkdir, "no image found in this folder"),
    "*.bmp": (lambda path: None, "no image found in this pattern"),
    "data:image/png;base64,AAAA": (lambda path: None, "data URIs are not supported"),
}


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize("name", BAD_PATHS)
def test_one_bad_source_is_listed_and_the_others_are_done(ovrcoat, folder: Path, name: str):
    make, message = BAD_PATHS[name]
    make(folder / name)
    outcome = ovrcoat("segment", name, "photo.jpg", *WORDS, "--json", "--quiet", "--output", "out")
    assert outcome.status == 1
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert [image["file"] for image in outcome.document["images"]] == ["photo.jpg"]
    (failure,) = outcome.document["failed"]
    assert failure["file"] == name
    assert message in failure["error"]


@pytest.mark.usefixtures("tiny_model")
def test_sources_without_any_image_start_nothing(ovrcoat, folder: Path):
    (folder / "empty").mkdir()
    outcome = ovrcoat("segment", "empty", "*.bmp", *WORDS, "--output", "out")
    assert (outcome.status, outcome.out) == (2, "")
    assert "error: empty: no image found in this folder" in outcome.err
    assert "error: *.bmp: no image found in this pattern" in outcome.err
    assert not (folder / "out").exists()


@pytest.mark.usefixtures("tiny_model")
def test_a_folder_that_cannot_be_listed(ovrcoat, folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "closed").mkdir()
    listdir = os.listdir

    def refuse(path: object) -> list[str]:
        if Path(str(path)).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    outcome = ovrcoat("segment", "closed", "photo.jpg", *WORDS, "--quiet", "--output", "out")
    assert outcome.status == 1
    assert outcome.err == (
        "error: closed: the folder cannot be read (Permission denied); check its permissions\n"
    )
    assert (folder / "out" / "photo.png").exists()


GOOD_NAMES = {
    "tilde": b"~photo.jpg",
    "line break": b"new\nline.jpg",
    "escape sequence": b"esc\x1b[31mred.jpg",
    "Latin-1": b"caf\xe9.jpg",
    "as long as possible": b"a" * 251 + b".jpg",
    "as long as possible, two bytes each": "ü".encode() * 125 + b".jpg",
    "pattern": b"sp ace [1].jpg",
}


@pytest.mark.usefixtures("tiny_model")
@pytest.mark.parametrize("name", GOOD_NAMES.values(), ids=GOOD_NAMES)
def test_every_name_that_a_file_can_have_is_written_and_documented(ovrcoat, folder: Path, name: bytes):
    path = os.fsdecode(name)
    (folder / path).write_bytes((folder / "photo.jpg").read_bytes())
    outcome = ovrcoat("segment", path, "photo.jpg", *WORDS, "--output", "out")
    assert outcome.status == 0
    assert "\x1b" not in outcome.out
    document = json.loads((folder / "out" / "panoptic.json").read_text(encoding="utf-8"))
    assert len(document["images"]) == 2
    for image, annotation in zip(document["images"], document["annotations"], strict=True):
        assert (folder / "out" / annotation["file_name"]).exists()
        assert (folder / "out" / f"{image['output']}.overlay.jpg").exists()
    assert document["images"][0]["source"]["path"] == path
    json_outcome = ovrcoat("segment", path, *WORDS, "--output", "out2", "--json")
    assert json_outcome.document["images"][0]["file"] == path


@pytest.mark.usefixtures("tiny_model")
def test_two_long_names_with_a_common_beginning(ovrcoat, folder: Path):
    content = (folder / "photo.jpg").read_bytes()
    for letter in "bc":
        (folder / ("a" * 250 + f"{letter}.jpg")).write_bytes(content)
    assert ovrcoat("segment", "a*.jpg", *WORDS, "--output", "out").status == 0
    assert len(list((folder / "out").glob("*.overlay.jpg"))) == 2


@pytest.mark.usefixtures("tiny_model")
def test_the_python_result_of_a_long_name_can_be_saved(folder: Path, tiny_segmenter: Segmenter):
    path = folder / ("a" * 251 + ".jpg")
    path.write_bytes((folder / "photo.jpg").read_bytes())
    result = tiny_segmenter.segment(path, "cat; sky#stuff")
    assert all(written.exists() for written in result.save(folder / "out"))


@pytest.fixture
def phone(folder: Path) -> Path:
    (folder / "dcim").mkdir()
    for name in ("a.jpg", "b.jpg", "noext", "._a.jpg"):
        (folder / "dcim" / name).write_bytes((folder / "photo.jpg").read_bytes())
    for name in ("IMG_1.HEIC", "IMG_2.HEIC", "r.DNG"):
        (folder / "dcim" / name).write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "dcim" / "l.jpg").symlink_to("gone.jpg")
    return folder / "dcim"


@pytest.mark.usefixtures("tiny_model", "phone")
def test_what_a_folder_holds_besides_images_is_one_note(ovrcoat):
    outcome = ovrcoat("segment", "dcim", *WORDS, "--output", "out")
    assert outcome.status == 0
    (note,) = (line for line in outcome.err.splitlines() if line.startswith("note: "))
    assert note.startswith("note: left out 6 files or folders: ")
    for part in ("2 .heic (IMG_1.HEIC, IMG_2.HEIC)", "1 .dng (r.DNG)", "1 without suffix (noext)"):
        assert part in note
    assert "1 broken link (l.jpg)" in note
    assert "1 macOS '._' file (._a.jpg)" in note


@pytest.mark.usefixtures("tiny_model", "phone")
def test_what_was_left_out_is_in_the_json(ovrcoat):
    outcome = ovrcoat("segment", "dcim", *WORDS, "--output", "out", "--json", "--quiet")
    assert (outcome.status, outcome.err) == (0, "")
    assert {"file": "dcim/r.DNG", "reason": ".dng"} in outcome.document["left_out"]
    assert len(outcome.document["left_out"]) == 6
    assert outcome.document["failed"] == []


@pytest.mark.usefixtures("tiny_model")
def test_notes_about_an_image_are_printed_and_documented(ovrcoat, folder: Path):
    without_end_marker(folder / "cut.jpg")
    note = "its end marker is missing; all pixels are complete"
    outcome = ovrcoat("segment", "cut.jpg", "photo.jpg", *WORDS, "--output", "out", "--json")
    assert outcome.status == 0
    assert f"note: cut.jpg: {note}\n" in outcome.err
    assert [image["notes"] for image in outcome.document["images"]] == [[note], []]
    document = json.loads((folder / "out" / "panoptic.json").read_text())
    assert [image.get("notes") for image in document["images"]] == [[note], None]
    quiet = ovrcoat("segment", "cut.jpg", *WORDS, "--output", "out2", "--quiet")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


def test_notes_about_an_image_are_warnings_in_python(folder: Path, tiny_segmenter: Segmenter):
    without_end_marker(folder / "cut.jpg")
    message = r"cut\.jpg: its end marker is missing"
    assert len(read_image(folder / "cut.jpg").notes) == 1
    for task in ("panoptic", "semantic"):
        with pytest.warns(UserWarning, match=message):
            result = tiny_segmenter.segment(folder / "cut.jpg", "cat; sky#stuff", task=task)
        assert len(result.notes) == 1
    with pytest.warns(UserWarning, match=message):
        results = list(tiny_segmenter.segment_many([folder / "cut.jpg"], "cat; sky#stuff"))
    assert len(results) == 1
    image = np.full((40, 60, 3), 200, np.uint8)
    assert tiny_segmenter.segment(image, "cat; sky#stuff").notes == ()


@pytest.mark.usefixtures("tiny_model")
def test_a_dataset_with_a_name_that_is_not_utf8_is_evaluated_and_resumed(ovrcoat, folder: Path):
    data = folder / "data"
    (data / "images").mkdir(parents=True)
    (data / "labels").mkdir()
    (data / "names.json").write_text('{"0": "cat", "1": "sky"}')
    with Image.open(folder / "photo.jpg") as photo:
        labels = Image.new("L", photo.size, 1)
    for stem in ("a", os.fsdecode(b"caf\xe9")):
        (data / "images" / f"{stem}.jpg").write_bytes((folder / "photo.jpg").read_bytes())
        labels.save(data / "labels" / f"{stem}.png")
    assert ovrcoat("check-data", "data").status == 0
    command = ("evaluate", "--data", "./data", "--task", "semantic", "--output", "out")
    first = ovrcoat(*command)
    assert first.status == 0
    report = (folder / "out" / "report.json").read_bytes()
    assert b"caf\\udce9" in report
    again = ovrcoat(*command)
    assert again.status == 0
    assert "2 of 2 images are from an earlier run" in again.err
    assert ovrcoat("compare", "out/report.json", "out/report.json", "--trust", "0").status == 0


# A process without HOME whose user has no passwd entry, as in a container.
WITHOUT_HOME = """
import os, pwd, sys
def nobody(_):
    raise KeyError("no such user")
pwd.getpwuid = pwd.getpwnam = nobody
os.environ.pop("HOME", None)
from ovrcoat.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("models",), "nano"),
        (("segment", "~photo.png", "--vocabulary", "cat; sky#stuff", "--quiet"), ""),
        (("evaluate", "--data", "~x"), "~x: neither a dataset"),
    ],
)
def test_without_a_home_everything_works_without_a_cache(
    tmp_path: Path, arguments: tuple[str, ...], shown: str
):
    Image.new("RGB", (48, 32), "red").save(tmp_path / "~photo.png")
    dropped = ("HOME", "XDG_CACHE_HOME", "OVRCOAT_CACHE", "OVRCOAT_MODELS")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_HOME, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in run.stderr
    assert shown in run.stdout + run.stderr
    if arguments[0] != "evaluate":
        assert (run.returncode, run.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        ["~photo.png"],
        ["ovrcoat-output", "~photo.png"],
    )
