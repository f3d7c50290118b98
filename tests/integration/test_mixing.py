"""`--masks`, `--names` and `--classify-by` from arguments to files, with nano."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from pyarrow import parquet

import tiny_clip
from labelled_images import make_labelled_folder
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.mixed_network import MixedNetwork
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.server.worker import Cancellation
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


@pytest.fixture
def mask2former(folder: Path) -> str:
    network = make_mask2former(classes=19)
    torch.save({"model": detectron2_names(network.state_dict())}, folder / "model_final.pth")
    return "model_final.pth"


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


def test_masks_of_mask2former(ovrcoat, folder: Path, mask2former: str):
    outcome = ovrcoat("segment", "photo.jpg", *VOCABULARY, "--masks", mask2former, "--names", "nano")
    assert outcome.status == 0
    assert (folder / "ovrcoat-output" / "photo.png").exists()
    wrong = ovrcoat("segment", "photo.jpg", *VOCABULARY, "--model", mask2former)
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


def rows(folder: Path, name: str) -> list[dict]:
    return [row for path in sorted(folder.glob(f"{name}/*")) for row in parquet.read_table(path).to_pylist()]


def test_batch_with_your_own_masks(ovrcoat, folder: Path, masks: np.ndarray):
    (folder / "other.jpg").write_bytes((folder / "photo.jpg").read_bytes())
    arguments = (*VOCABULARY, "--masks", "masks")
    outcome = ovrcoat("batch", "photo.jpg", "other.jpg", *arguments, "--embeddings", "--output", "out")
    assert outcome.status == 1
    assert "model: masks of masks, names of nano" in outcome.err
    (row,) = rows(folder / "out", "images")
    (missing,) = rows(folder / "out", "quarantine")
    assert "there are no masks of other.jpg in masks" in missing["reason"]
    (image,) = ovrcoat("segment", "photo.jpg", *arguments, "--json").document["images"]
    keys = ("category", "score", "area", "objectness_before")
    assert [[one[key] for key in keys] for one in row["segments"]] == [
        [pytest.approx(one[key]) for key in keys] for one in image["segments"]
    ]
    assert all(np.linalg.norm(one["embedding"]) == pytest.approx(1) for one in row["segments"])
    np.savez(folder / "masks" / "photo.npz", masks=masks[:1])
    changed = ovrcoat("batch", "photo.jpg", "other.jpg", *arguments, "--embeddings", "--output", "out")
    assert changed.status == 2
    assert "holds a run with other mask_files" in changed.err


@pytest.mark.parametrize("command", [("segment",), ("batch", "--output", "out")])
def test_two_images_never_share_masks(ovrcoat, folder: Path, masks: np.ndarray, command: tuple[str, ...]):
    (folder / "copy").mkdir()
    (folder / "copy" / "photo.jpg").write_bytes((folder / "photo.jpg").read_bytes())
    outcome = ovrcoat(*command, "photo.jpg", "copy/photo.jpg", *VOCABULARY, "--masks", "masks")
    assert outcome.status == 2
    assert "would get the same masks" in outcome.err
    assert not (folder / "out").exists()


def test_batch_with_masks_of_mask2former(ovrcoat, folder: Path, mask2former: str):
    sources = ("--masks", mask2former, "--names", "nano", "--overlap-threshold", "0")
    assert ovrcoat("batch", "photo.jpg", *VOCABULARY, *sources, "--output", "out").status == 0
    (row,) = rows(folder / "out", "images")
    (image,) = ovrcoat("segment", "photo.jpg", *VOCABULARY, *sources, "--json").document["images"]
    assert row["segments"]
    assert [one["area"] for one in row["segments"]] == [one["area"] for one in image["segments"]]
    other = ovrcoat("batch", "photo.jpg", *VOCABULARY, "--output", "out")
    assert other.status == 2
    assert "holds a run with other model" in other.err


def test_names_of_an_encoder_without_decoders(ovrcoat, folder: Path, masks: np.ndarray, monkeypatch):
    monkeypatch.setitem(CLIP_ENCODERS, "tiny", tiny_clip.encoder_config("convnext"))
    tiny_clip.write_encoder(folder / "clip.pt", "convnext")
    names = ("--names", "openclip:tiny=clip.pt")
    outcome = ovrcoat("segment", "photo.jpg", *VOCABULARY, "--masks", "masks", *names, "--json")
    assert outcome.status == 0
    assert outcome.document["model"] == "masks of masks, names of tiny"
    assert outcome.document["images"][0]["segments"]
    wrong = ovrcoat("segment", "photo.jpg", *VOCABULARY, "--model", "openclip:tiny=clip.pt")
    assert wrong.status == 2
    assert "the encoder tiny names masks and cannot propose them" in wrong.err


class StoppedServer:
    """Stands in for the server; its application is kept."""

    def __init__(self, app, **options: object) -> None:
        self.apps.append(app)

    def run(self, sockets: object) -> None:
        """Return at once."""

    apps: ClassVar[list] = []


def test_serve_with_masks_of_mask2former(ovrcoat, folder: Path, mask2former: str, monkeypatch):
    monkeypatch.setattr("ovrcoat.server.listening.make_server", StoppedServer)
    serve = ("serve", "--port", "0", "--device", "cpu")
    assert ovrcoat(*serve, "--masks", mask2former, "--classify-by", "crops").status == 0
    state = StoppedServer.apps.pop().state.server
    assert state.model == "masks of model_final.pth, names of nano"
    image = state.service.encode((folder / "photo.jpg").read_bytes(), Cancellation())
    assert isinstance(image.encoded.network, MixedNetwork)
    assert image.encoded.classify_by == "crops"


def test_serve_takes_no_masks_in_files(ovrcoat, folder: Path, masks: np.ndarray):
    outcome = ovrcoat("serve", "--port", "0", "--device", "cpu", "--masks", "masks")
    assert outcome.status == 2
    assert "--masks masks holds masks in files" in outcome.err
