"""`--masks`, `--names` and `--classify-by` from arguments to files, with nano."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labelled_images import make_labelled_folder
from ovrcoat.segmentation.segmenter import Segmenter
from tiny_mask2former import detectron2_names, make_mask2former

VOCABULARY = ("--vocabulary", "cat; sofa; wall#stuff", "--background", "none", "--device", "cpu")


@pytest.fixture
def masks(folder: Path) -> np.ndarray:
    """Two masks of photo.jpg, in masks/photo.npz."""
    found = np.zeros((2, 40, 56), bool)
    found[0, :20], found[1, 20:] = True, True
    (folder / "masks").mkdir()
    np.savez(folder / "masks" / "photo.npz", masks=found, objectness=np.array([0.95, 0.9]))
    return found


def test_your_own_masks(ovrcoat, folder: Path, masks: np.ndarray):
    outcome = ovrcoat("segment", "photo.jpg", *VOCABULARY, "--masks", "masks", "--json")
    assert outcome.status == 0
    (image,) = outcome.document["images"]
    assert image["segments"]
    for segment in image["segments"]:
        assert round(segment["objectness_before"], 4) in {0.95, 0.9}
        assert segment["objectness"] > segment["objectness_before"]  # COAT
        assert segment["area"] in {1120, 2240}  # 2240: both have the same stuff category and are merged


def test_an_image_without_masks_is_skipped(ovrcoat, folder: Path, masks: np.ndarray):
    (folder / "other.jpg").write_bytes((folder / "photo.jpg").read_bytes())
    outcome = ovrcoat("segment", "photo.jpg", "other.jpg", *VOCABULARY, "--masks", "masks")
    assert outcome.status == 1
    assert "there are no masks of other.jpg in masks; expected other.json" in outcome.err
    assert "photo.jpg: 56 × 40 pixels" in outcome.out


def test_a_run_resumes_only_with_the_same_masks(ovrcoat, folder: Path, masks: np.ndarray):
    arguments = ("segment", "photo.jpg", *VOCABULARY, "--masks", "masks", "--json")
    first = ovrcoat(*arguments).document["images"][0]["segments"]
    np.savez(folder / "masks" / "photo.npz", masks=masks[:1])  # objectness 1
    second = ovrcoat(*arguments).document["images"][0]["segments"]
    assert first != second


def test_explain_your_own_masks(ovrcoat, folder: Path, masks: np.ndarray):
    outcome = ovrcoat("explain", "photo.jpg", *VOCABULARY, "--masks", "masks", "--json")
    assert outcome.status == 0
    found = {round(mask["objectness_before"], 4) for mask in outcome.document["masks"]}
    assert found == {0.95, 0.9}


def test_masks_of_mask2former(ovrcoat, folder: Path):
    network = make_mask2former(classes=19)
    torch.save({"model": detectron2_names(network.state_dict())}, folder / "model_final.pth")
    outcome = ovrcoat("segment", "photo.jpg", *VOCABULARY, "--masks", "model_final.pth", "--names", "nano")
    assert outcome.status == 0
    assert (folder / "ovrcoat-output" / "photo.png").exists()
    wrong = ovrcoat("segment", "photo.jpg", *VOCABULARY, "--model", "model_final.pth")
    assert wrong.status == 2
    assert "model_final.pth" in wrong.err


@pytest.mark.parametrize("classify_by", ["crops", "masked-crops"])
def test_crops(ovrcoat, folder: Path, masks: np.ndarray, classify_by: str):
    arguments = ("segment", "photo.jpg", *VOCABULARY, "--masks", "masks", "--json")
    pooled = ovrcoat(*arguments).document["images"][0]["segments"]
    crops = ovrcoat(*arguments, "--classify-by", classify_by).document["images"][0]["segments"]
    assert pooled
    assert [s["clip_confidence"] for s in crops] != [s["clip_confidence"] for s in pooled]


def test_evaluate_with_the_masks_of_the_ground_truth(ovrcoat, folder: Path):
    nano = Segmenter.load("nano", device="cpu").with_settings(short_side=64)
    data = make_labelled_folder(folder / "mine", nano, images=3, trust=1)
    outcome = ovrcoat(
        *("evaluate", "--data", data, "--masks", data / "panoptic", "--trust", "0", "--device", "cpu"),
        *("--short-side", "64", "--output", "report"),
    )
    assert outcome.status == 0
    report = json.loads((folder / "report" / "report.json").read_text())
    assert report["model"]["name"] == "masks of panoptic, names of nano"
    (run,) = report["runs"]
    assert run["panoptic"]["groups"]["All"]["sq"] == pytest.approx(1)  # segments found have exact outlines
    Image.new("L", (3, 3)).save(next((data / "panoptic").iterdir()))  # masks of another size
    broken = ovrcoat(
        *("evaluate", "--data", data, "--masks", data / "panoptic", "--trust", "0", "--device", "cpu"),
        *("--short-side", "64", "--output", "other"),
    )
    assert broken.status == 1
