"""`ovrcoat explain`, `segment --show-rejected` and `--open`."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovrcoat.cli import viewer
from ovrcoat.segmentation.segmenter import Segmenter

from .conftest import Command

CLASSES = ("--vocabulary", "cat; sky#stuff", "--background", "tree", "--overlap-threshold", "0.3")


def test_the_table_lists_segments_and_rejected_masks(ovrcoat: Command, tiny_model: Segmenter, folder: Path):
    outcome = ovrcoat("explain", "photo.jpg", *CLASSES, "--limit", 2)
    assert outcome.status == 0
    explanation = tiny_model.explain("photo.jpg", "cat; sky#stuff", background="tree", overlap_threshold=0.3)
    for segment in explanation.result.segments:
        assert f"is segment {segment.id} ({segment.category})" in outcome.out
    assert "rejected masks: 2 of " in outcome.out
    assert outcome.out.count("rejected for overlaps") + outcome.out.count("rejected as void") <= 2
    assert sorted(path.name for path in folder.iterdir()) == ["photo.jpg"]


def test_json_has_all_masks_and_the_point(ovrcoat: Command, tiny_model: Segmenter, folder: Path):
    document = ovrcoat("explain", "photo.jpg", *CLASSES, "--json", "--point", "5,6").document
    explanation = tiny_model.explain("photo.jpg", "cat; sky#stuff", background="tree", overlap_threshold=0.3)
    assert document["masks"] == explanation.to_dict()["masks"]
    assert document["point"] == explanation.at(5, 6).to_dict()
    assert document["model"] == "nano"


def test_a_point_is_explained(ovrcoat: Command, tiny_model: Segmenter, folder: Path):
    outcome = ovrcoat("explain", "photo.jpg", *CLASSES, "--point", "5,6")
    pixel = tiny_model.explain("photo.jpg", "cat; sky#stuff", background="tree", overlap_threshold=0.3).at(
        5, 6
    )
    assert outcome.out.startswith(f"pixel 5,6: {pixel.summary}\n")
    for one in pixel.masks:
        assert one.reason in outcome.out


@pytest.mark.parametrize("name", ["picture.png", "new/picture.jpg"])
def test_the_picture_is_written_and_not_replaced(
    ovrcoat: Command, tiny_model: Segmenter, folder: Path, name: str
):
    for _ in range(2):  # its own picture is replaced
        assert ovrcoat("explain", "photo.jpg", *CLASSES, "--output", name).status == 0
    with Image.open(folder / name) as picture:
        assert picture.width >= 56
        assert picture.height > 40  # the legend is below
    Image.new("RGB", (4, 4)).save(folder / name)
    outcome = ovrcoat("explain", "photo.jpg", *CLASSES, "--output", name)
    assert outcome.status == 2
    assert "error: " in outcome.err
    assert ovrcoat("explain", "photo.jpg", *CLASSES, "--output", name, "--overwrite").status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--point", "5"), "--point '5' is not valid; expected two whole numbers x,y such as 320,240"),
        (("--point", "5,a"), "--point '5,a' is not valid"),
        (("--point", "56,0"), "the pixel (56, 0) is not in the image"),
        (("--task", "semantic"), "explanations exist for --task panoptic, not for semantic"),
        (("--output", "picture.gif"), "picture.gif: expected a name that ends with .jpg, .jpeg, .png"),
        (("--open",), "--open shows the picture that --output writes"),
    ],
)
def test_bad_input_is_one_line(
    ovrcoat: Command, tiny_model: Segmenter, folder: Path, arguments: tuple[str, ...], message: str
):
    outcome = ovrcoat("explain", "photo.jpg", *CLASSES, *arguments)
    assert outcome.status == 2
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]


def test_show_rejected_changes_the_overlay_only(ovrcoat: Command, tiny_model: Segmenter, folder: Path):
    plain = ovrcoat("segment", "photo.jpg", *CLASSES, "--output", "plain")
    rejected = ovrcoat("segment", "photo.jpg", *CLASSES, "--output", "rejected", "--show-rejected")
    assert plain.status == rejected.status == 0
    assert plain.out.replace("plain/", "rejected/") == rejected.out
    maps = [np.array(Image.open(folder / name / "photo.png")) for name in ("plain", "rejected")]
    assert np.array_equal(*maps)
    overlays = [(folder / name / "photo.overlay.jpg").read_bytes() for name in ("plain", "rejected")]
    assert overlays[0] != overlays[1]


def test_show_rejected_is_for_panoptic_results(ovrcoat: Command, tiny_model: Segmenter, folder: Path):
    outcome = ovrcoat("segment", "photo.jpg", "--task", "semantic", "--show-rejected")
    assert outcome.status == 2
    assert "--show-rejected applies to --task panoptic, not to semantic" in outcome.err


def test_open_shows_the_overlay_or_the_folder(
    ovrcoat: Command, tiny_model: Segmenter, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    opened: list[list[str]] = []
    monkeypatch.setattr(viewer.sys, "platform", "linux")
    monkeypatch.setattr(viewer, "_opener", lambda: "opener")
    monkeypatch.setattr(viewer.subprocess, "Popen", lambda command, **_: opened.append(command))
    ovrcoat("segment", "photo.jpg", *CLASSES, "--open", "--output", "one")
    (folder / "other.jpg").write_bytes((folder / "photo.jpg").read_bytes())
    ovrcoat("segment", "photo.jpg", "other.jpg", *CLASSES, "--open", "--output", "two")
    assert opened == [
        ["opener", str(folder / "one" / "photo.overlay.jpg")],
        ["opener", str(folder / "two")],
    ]


def test_without_a_screen_open_is_a_note(
    ovrcoat: Command, tiny_model: Segmenter, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(viewer.sys, "platform", "linux")
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    outcome = ovrcoat("segment", "photo.jpg", *CLASSES, "--open")
    assert outcome.status == 0
    assert "note: there is no screen or no viewer to open" in outcome.err
