"""Encoders with OpenCLIP's weights that name the masks of other sources."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_clip
from ovrcoat.checkpoints.catalog import find_mask_source, find_model
from ovrcoat.config import OpenClipConfig
from ovrcoat.errors import CheckpointError, ConfigError
from ovrcoat.model.encoders.open_clip_models import OPEN_CLIP_MODELS, OpenClipModel
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.network import build_encoder
from ovrcoat.segmentation.segmenter import Segmenter

VOCABULARY = "cat; dog; sky#stuff"


@pytest.fixture(params=["mobileclip", *tiny_clip.FAMILIES])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tiny encoder with random weights, whose file has OpenCLIP's names."""
    address = f"openclip:tiny={tmp_path / 'clip.pt'}"
    if request.param != "mobileclip":
        monkeypatch.setitem(CLIP_ENCODERS, "tiny", tiny_clip.encoder_config(request.param))
        tiny_clip.write_encoder(tmp_path / "clip.pt", request.param)
        return address
    settings = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64), "text_width": 64, "text_layers": 1}
    entry = OpenClipModel("mobileclip", embedding_dim=16, settings=settings, tag="none", license="none")
    monkeypatch.setitem(OPEN_CLIP_MODELS, "tiny", entry)
    torch.manual_seed(0)
    state = build_encoder(OpenClipConfig(name="tiny", embedding_dim=16)).state_dict()
    published = {
        key.replace("visual_trunk.", "visual.trunk.").replace("text_tower.model.", "text."): value
        for key, value in state.items()
    }
    torch.save(published, tmp_path / "clip.pt")
    return address


def test_an_encoder_names_your_masks(address: str, tmp_path: Path, image_pixels: np.ndarray):
    height, width, _ = image_pixels.shape
    masks = np.zeros((2, height, width), dtype=bool)
    masks[0, : height // 2], masks[1, height // 2 :] = True, True
    (tmp_path / "masks").mkdir()
    np.savez(tmp_path / "masks" / "photo.npz", masks=masks, objectness=np.array([0.9, 0.5]))
    segmenter = Segmenter.load(address, masks=tmp_path / "masks", device="cpu", text_cache=None)
    assert segmenter.provenance["clip"] == "tiny"
    segmenter = segmenter.with_settings(short_side=64, max_long_side=128)
    image = tmp_path / "photo.png"
    Image.fromarray(image_pixels).save(image)
    explanation = segmenter.explain(image, VOCABULARY, trust=0.5, background="none")
    labels = segmenter.classify_masks(image, masks, VOCABULARY, background="none")
    assert len(explanation.masks) == 2
    for mask in explanation.masks:
        assert mask.category == labels[mask.query].category
        assert mask.objectness_before == pytest.approx((0.9, 0.5)[mask.query])
        expected = 1 - (1 - mask.objectness_before) * (1 - 0.5 * mask.clip_confidence)
        assert mask.objectness == pytest.approx(expected, abs=1e-5)


def test_an_encoder_names_the_masks_of_a_model(address: str, image_pixels: np.ndarray):
    mixed = Segmenter.load(address, masks="nano", device="cpu", text_cache=None)
    assert mixed.provenance["clip_of_names"] == "tiny"
    nano = Segmenter.load("nano", device="cpu", text_cache=None)
    options = {"trust": 0, "background": "none"}
    found, expected = (one.explain(image_pixels, VOCABULARY, **options) for one in (mixed, nano))
    objectness = [{mask.query: mask.objectness for mask in one.masks} for one in (found, expected)]
    assert objectness[0] == pytest.approx(objectness[1], abs=1e-5)  # nano's masks and void
    clip = [{mask.query: mask.clip_confidence for mask in one.masks} for one in (found, expected)]
    assert clip[0] != pytest.approx(clip[1], abs=1e-3)


def test_an_encoder_cannot_propose_masks(address: str):
    with pytest.raises(ConfigError, match="encoder tiny names masks and cannot propose them; give a source"):
        Segmenter.load(address, device="cpu")
    for find in (find_model, find_mask_source):
        with pytest.raises(ConfigError, match="names masks and cannot propose them; use --names"):
            find(address)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("openclip:tiny", "expected openclip:NAME=FILE, with a name of `ovrcoat models --encoders`"),
        ("openclip:=x.pt", "expected openclip:NAME=FILE"),
        ("openclip:tiny=missing.pt", r"there is no file missing\.pt"),
    ],
)
def test_wrong_addresses(wrong: str, message: str):
    with pytest.raises(ConfigError, match=message):
        Segmenter.load(wrong, masks="nano", device="cpu")


def test_an_unknown_encoder_and_weights_that_do_not_fit(address: str):
    with pytest.raises(ConfigError, match=r"unknown encoder 'tinyy'.*did you mean tiny\?"):
        Segmenter.load(address.replace("tiny", "tinyy", 1), masks="nano", device="cpu")
    with pytest.raises(CheckpointError, match=r"clip\.pt"):
        Segmenter.load(address.replace("tiny", "MobileCLIP-S1", 1), masks="nano", device="cpu")
