"""Scores of ground truth and predictions in files; damaged files are reported; no image is lost."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovrcoat.errors import DatasetError, MissingExtraError
from ovrcoat.evaluation.scoring.panoptic import check_panoptic, score_panoptic
from ovrcoat.formats import json_files, panoptic_png
from ovrcoat.formats.panoptic_json import PanopticSource
from ovrcoat.system.input_files import SizeLimit
from ovrcoat.vocabulary import Vocabulary
from panoptic_pairs import (
    PREDICTED_IDS,
    id_map_to_image,
    prediction_document,
    truth_document,
    write_pair,
)

Sources = tuple[PanopticSource, PanopticSource]


def sources(root: Path, truth: object = None, prediction: object = None) -> Sources:
    true_json, true_folder, predicted_json, predicted_folder = write_pair(root, truth, prediction)
    return PanopticSource(true_json, true_folder), PanopticSource(predicted_json, predicted_folder)


def codes(figures: dict[str, Any]) -> list[str]:
    return [issue["code"] for issue in figures["issues"]]


@pytest.fixture(params=["kornia", "pillow"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both decoders in turn."""
    if request.param == "kornia":
        pytest.importorskip("kornia_rs")
    else:
        monkeypatch.setattr(panoptic_png, "import_optional", _missing)
    panoptic_png._decoder.cache_clear()
    yield request.param
    panoptic_png._decoder.cache_clear()


def _missing(module: str, *, extra: str) -> None:
    raise MissingExtraError(f"{module} of {extra}")


def test_figures_of_a_small_pair(tmp_path: Path):
    figures = score_panoptic(*sources(tmp_path))
    # cat: 4 of 5 pixels found; wall: all 6 and one pixel of cat, the void pixel does not count
    assert figures["per_class"]["1"]["iou_sum"] == pytest.approx(2 * 4 / 5)
    assert figures["per_class"]["7"]["iou_sum"] == pytest.approx(2 * 6 / 7)
    assert figures["groups"]["All"]["pq"] == pytest.approx((4 / 5 + 6 / 7) / 2)
    assert (figures["n_images"], figures["areas"], figures["issues"]) == (2, "json", [])
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


@pytest.mark.parametrize("seen", [{1}, Vocabulary.of("cat")])
def test_seen_by_ids_or_by_words(seen: object, tmp_path: Path):
    figures = score_panoptic(*sources(tmp_path), seen=seen)
    assert figures["seen_category_ids"] == [1]
    assert figures["groups"]["Seen"]["n"] == figures["groups"]["Unseen_Stuff"]["n"] == 1


def test_an_unknown_seen_id_is_reported(tmp_path: Path):
    figures = score_panoptic(*sources(tmp_path), seen={1, 99})
    assert codes(figures) == ["seen-id-unknown"]
    assert figures["seen_category_ids"] == [1]


def test_differing_areas_are_always_reported_with_the_other_score(tmp_path: Path):
    truth = truth_document()
    truth["annotations"][0]["segments_info"][1]["area"] = 9
    pair = sources(tmp_path, truth)
    by_json, by_png = score_panoptic(*pair), score_panoptic(*pair, areas="png")
    assert codes(by_json) == codes(by_png) == ["areas-differ", "areas-other-choice"]
    assert by_json["issues"][0]["examples"] == ["image 1, segment 70000: JSON 9, pixels 6"]
    assert by_json["groups"]["All"]["pq"] == pytest.approx((4 / 5 + (6 / 7 + 6 / 10) / 2) / 2)
    assert by_png["groups"]["All"]["pq"] == pytest.approx((4 / 5 + 6 / 7) / 2)
    assert "is 82.86 % with --areas png, 76.43 % with --areas json" in by_json["issues"][1]["examples"][0]


def test_impossible_areas_are_an_error_unless_pixels_are_asked(tmp_path: Path):
    truth = truth_document()
    truth["annotations"][0]["segments_info"][1]["area"] = 2
    pair = sources(tmp_path, truth)
    with pytest.raises(DatasetError, match=r"(?s)an IoU would exceed 1.*image 1.*warning: the area"):
        score_panoptic(*pair)
    figures = score_panoptic(*pair, areas="png")
    assert figures["groups"]["All"]["pq"] == pytest.approx((4 / 5 + 6 / 7) / 2)
    assert "impossible" in figures["issues"][-1]["examples"][0]


def test_a_missing_area_is_counted(tmp_path: Path):
    truth = truth_document()
    truth["annotations"][0]["segments_info"][1].pop("area")
    figures = score_panoptic(*sources(tmp_path, truth))
    assert codes(figures) == ["area-missing"]
    assert figures["groups"]["All"]["pq"] == pytest.approx((4 / 5 + 6 / 7) / 2)


def test_nothing_to_count_gives_no_scores(tmp_path: Path):
    truth, prediction = truth_document(), prediction_document()
    pair = sources(tmp_path, truth, prediction)
    for document, source in ((truth, pair[0]), (prediction, pair[1])):
        for annotation in document["annotations"]:
            annotation["segments_info"] = []
        source.json.write_text(json.dumps(document))
        for name in ("1.png", "2.png"):
            id_map_to_image(np.zeros((3, 4))).save(source.folder / name)
    figures = score_panoptic(*pair)
    assert figures["groups"]["All"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert codes(figures) == ["nothing-counted"]


def _palette() -> Image.Image:
    picture = Image.new("P", (4, 3))
    picture.putpalette([value for shade in range(256) for value in (shade, shade, shade)])
    return picture


DAMAGES = {
    "png-missing": lambda path: path.unlink(),
    "png-damaged": lambda path: path.write_bytes(path.read_bytes()[:60]),
    "png-damaged-empty": lambda path: path.write_bytes(b""),
    "png-damaged-jpeg": lambda path: Image.new("RGB", (64, 64)).save(path, format="JPEG"),
    "png-damaged-bits": lambda path: path.write_bytes(path.read_bytes()[:45] + b"\xff" * 40),
    "png-not-rgb": lambda path: Image.new("L", (4, 3)).save(path),
    "png-not-rgb-palette": lambda path: _palette().save(path),
    "png-not-rgb-16-bit": lambda path: path.write_bytes(
        path.read_bytes()[:24] + b"\x10" + path.read_bytes()[25:]
    ),
    "png-too-large": lambda path: path.write_bytes(
        path.read_bytes()[:16] + b"\x00\x01\x00\x00\x00\x01\x00\x00" + path.read_bytes()[24:]
    ),
    "size-mismatch": lambda path: id_map_to_image(np.transpose(PREDICTED_IDS)).save(path),
    "prediction-pixels-without-segment": lambda path: id_map_to_image(np.full((3, 4), 8)).save(path),
    "prediction-segment-without-pixels": lambda path: id_map_to_image(np.full((3, 4), 9)).save(path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_png_is_a_issue_and_the_other_images_are_still_checked(
    damage: str, tmp_path: Path, decoder: str
):
    pair = sources(tmp_path)
    DAMAGES[damage](pair[1].folder / "1.png")
    DAMAGES["png-not-rgb"](pair[1].folder / "2.png")
    issues, image_count = check_panoptic(*pair)
    assert image_count == 2
    [issue] = [issue for issue in issues if damage.startswith(issue.code)]
    assert issue.severity == "error"
    assert "image 1" in issue.examples[0]
    assert any("image 2" in text for found in issues for text in found.examples)
    with pytest.raises(DatasetError, match="cannot be scored"):
        score_panoptic(*pair)


def test_a_swapped_size_is_reported(tmp_path: Path):
    pair = sources(tmp_path)
    DAMAGES["size-mismatch"](pair[1].folder / "1.png")
    with pytest.raises(
        DatasetError, match=r"ground truth 4 × 3, prediction 3 × 4 pixels .width and height look swapped"
    ):
        score_panoptic(*pair)


def test_a_listed_size_that_is_not_the_png_s_is_reported(tmp_path: Path):
    truth = truth_document()
    truth["images"][1]["width"] = 5
    assert codes(score_panoptic(*sources(tmp_path, truth))) == ["truth-size-differs"]


def test_missing_folders_and_files_are_reported_once(tmp_path: Path):
    truth, _ = sources(tmp_path)
    with pytest.raises(
        DatasetError,
        match=r"(?s)folder of PNG files does not exist.*\(1 ×: .*nowhere.*cannot be read.*nothing.json "
        r"\(No such",
    ):
        score_panoptic(truth, PanopticSource(tmp_path / "nothing.json", tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"nothing.json"):
        score_panoptic(PanopticSource(tmp_path / "nothing.json", truth.folder), truth)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "a list instead of an object"),
        ('{"annotations": [', "line 1 column"),
        ("[" * 10_000, "cannot be read"),
    ],
)
def test_invalid_json_is_reported(content: str, reason: str, tmp_path: Path):
    truth, prediction = sources(tmp_path)
    prediction.json.write_text(content)
    with pytest.raises(DatasetError, match=reason):
        score_panoptic(truth, prediction)


def test_a_json_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pair = sources(tmp_path)
    monkeypatch.setattr(json_files, "JSON", SizeLimit(10, "NO_VARIABLE", unit=1))
    with pytest.raises(DatasetError, match="expected at most 10;"):
        score_panoptic(*pair)


def test_alpha_is_a_warning(tmp_path: Path):
    pair = sources(tmp_path)
    picture = id_map_to_image(PREDICTED_IDS)
    picture.putalpha(0)
    picture.save(pair[1].folder / "2.png")
    figures = score_panoptic(*pair)
    assert codes(figures) == ["png-with-alpha"]
    assert figures["groups"]["All"]["pq"] == pytest.approx((4 / 5 + 6 / 7) / 2)


def test_many_images_come_out_in_order_and_with_progress(tmp_path: Path):
    pair = sources(tmp_path)
    for source in pair:
        document = json.loads(source.json.read_text())
        document["annotations"] = [document["annotations"][0] | {"image_id": id} for id in range(50)]
        document.pop("images", None)
        source.json.write_text(json.dumps(document))
    id_map_to_image(np.full((3, 4), 9)).save(pair[1].folder / "1.png")
    issues, image_count = check_panoptic(*pair, progress=True)
    [lost] = [issue for issue in issues if issue.code == "prediction-segment-without-pixels"]
    assert (image_count, lost.count) == (50, 50)
    assert lost.examples[:2] == ["image 0, segment 2 in 1.png", "image 1, segment 2 in 1.png"]
