"""Semantic label maps in folders: pairing, checks and mIoU."""

import numpy as np
import pytest
from PIL import Image

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.scoring.semantic import score_semantic

NAMES = ("cat", "dog", "sky")


@pytest.fixture
def folders(tmp_path):
    for name in ("truth", "predicted"):
        (tmp_path / name).mkdir()
    return tmp_path / "truth", tmp_path / "predicted"


def write(path, values, kind=np.uint8):
    Image.fromarray(np.array(values, dtype=kind)).save(path)


def score(folders, **options):
    return score_semantic(*folders, **({"category_names": NAMES, "ignore_label": 255} | options))


def test_files_of_several_forms_are_scored(folders):
    truth, predicted = folders
    write(truth / "a.png", [[0, 1], [2, 255]])
    write(predicted / "a.png", [[0, 1], [1, 0]])
    (truth / "city").mkdir()
    write(truth / "city" / "b.tif", [[0, 2]], np.uint16)
    write(predicted / "b.png", [[0, 2]], np.uint16)
    palette = Image.fromarray(np.array([[1, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(truth / "c.png")
    write(predicted / "c.png", [[1, 1]])
    report = score(folders)
    assert report["n_images"] == 3
    assert report["pACC"] == pytest.approx(100 * 6 / 7)
    assert report["iou"] == [100.0, 75.0, 50.0]
    assert report["issues"] == []


def test_16_bits_and_another_ignore_label(folders):
    truth, predicted = folders
    write(truth / "a.png", [[300, 65535]], np.uint16)
    write(predicted / "a.png", [[300, 7]], np.uint16)
    report = score(folders, category_names=[f"c{n}" for n in range(301)], ignore_label=65535)
    assert report["mIoU"] == 100
    assert report["ignore_label"] == 65535


def test_all_errors_are_reported_at_once(folders):
    truth, predicted = folders
    write(truth / "a.png", [[0, 9]])
    write(predicted / "a.png", [[0, 1]])
    write(truth / "b.png", [[0, 1]])
    write(predicted / "b.png", [[0], [1]])
    write(truth / "c.png", [[0, 1]])
    write(truth / "d.png", [[0, 1]])
    (predicted / "d.png").write_bytes(b"no picture")
    write(truth / "e.png", np.zeros((2, 2, 3)))
    write(predicted / "e.png", [[0, 1]])
    with pytest.raises(DatasetError) as caught:
        score(folders)
    for text in (
        r"neither the index of a category nor the ignore label.*a: value 9 in 1 pixels, expected 0 to 2",
        r"b: ground truth 2 × 1, prediction 1 × 2 (width × height)",
        r"an image has no prediction.*c.png",
        r"cannot be read.*d.png",
        r"e.png",
    ):
        assert all(part in str(caught.value) for part in text.split(".*"))


def test_missing_folders_and_duplicate_names_are_rejected(folders):
    truth, predicted = folders
    with pytest.raises(DatasetError, match=r"(?s)label maps does not exist.*contains no PNG or TIFF"):
        score((truth / "none", predicted))
    write(truth / "a.png", [[0]])
    write(truth / "a.tif", [[0]])
    write(predicted / "a.png", [[0]])
    with pytest.raises(DatasetError, match=r"same name .*a\.png and .*a\.tif"):
        score(folders)


def test_suspicious_files_cause_warnings(folders):
    truth, predicted = folders
    write(truth / "a.png", [[0, 255]])
    write(predicted / "a.png", [[7, 9]])
    write(predicted / "z.png", [[0, 0]])
    report = score(folders)
    assert report["mIoU"] == 0
    assert {(found["code"], found["severity"]) for found in report["issues"]} == {
        ("predicted-label-out-of-range", "warning"),
        ("prediction-without-truth", "warning"),
    }
    (label,) = (found for found in report["issues"] if found["code"] == "predicted-label-out-of-range")
    assert label["examples"] == ["a: value 7 in 1 pixels, expected 0 to 2"]  # 9 is at an ignored pixel


def test_only_ignored_pixels_give_undefined_metrics_and_a_warning(folders):
    for folder in folders:
        write(folder / "a.png", [[255, 255]])
    report = score(folders)
    assert report["mIoU"] is None
    assert [found["code"] for found in report["issues"]] == ["all-pixels-ignored"]
