"""MobileCLIP compared with OpenCLIP's own model, and a whole network around it."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.foreign import clip_encoder_state
from ovrcoat.config import (
    OpenClipConfig,
)
from ovrcoat.errors import CheckpointError
from ovrcoat.model.encoders.open_clip_models import OPEN_CLIP_MODELS, OpenClipModel
from ovrcoat.model.network import build_encoder, build_network
from ovrcoat.structures import ImageBatch
from ovrcoat.vocabulary import Vocabulary
from tiny_open_clip import assert_a_checkpoint_segments_as_before, tiny_model

NAMES = [name for name, model in OPEN_CLIP_MODELS.items() if model.module == "mobileclip"]
TINY = OpenClipModel(
    module="mobileclip",
    embedding_dim=16,
    settings={"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64), "text_width": 64, "text_layers": 1},
    tag="none",
    license="none",
)
MODEL = tiny_model(embedding_dim=16)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPEN_CLIP_MODELS, "tiny", TINY)


@torch.inference_mode()
def test_embeddings_equal_openclip(tmp_path: Path):
    torch.manual_seed(0)
    name = "MobileCLIP2-S0"
    theirs = open_clip.create_model(name, pretrained=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "clip.pt")
    encoder = build_encoder(OpenClipConfig(name=name, embedding_dim=512)).eval()
    encoder.load_state_dict(clip_encoder_state(name, file=tmp_path / "clip.pt"))

    pixels = torch.rand(1, 3, 256, 256)
    features = encoder(ImageBatch(pixels=pixels * 255, valid_sizes=((256, 256),)))
    masks = encoder.embed_masks(features.clip_features, torch.ones(1, 1, 64, 64))
    expected = theirs.encode_image(pixels)
    assert expected.std() > 1e-4
    torch.testing.assert_close(masks.embeddings[:, 0], expected, atol=1e-5, rtol=1e-4)
    assert [level.shape[-1] for level in features.levels] == [64, 32, 16, 8]

    texts = ["a photo of a cat.", "sky", "word " * 100]
    expected = theirs.encode_text(open_clip.get_tokenizer(name)(texts))
    torch.testing.assert_close(encoder.embed_texts(texts), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_table_equals_openclip(name: str):
    from open_clip.pretrained import get_pretrained_cfg

    with torch.device("meta"):
        theirs = open_clip.CustomTextCLIP(
            **{key: value for key, value in open_clip.get_model_config(name).items() if key != "custom_text"}
        )
        ours = build_encoder(OpenClipConfig(name=name, embedding_dim=OPEN_CLIP_MODELS[name].embedding_dim))
    renamed = clip_names(theirs.state_dict())
    assert renamed == {key: value.shape for key, value in ours.state_dict().items()}
    weights = get_pretrained_cfg(name, OPEN_CLIP_MODELS[name].tag)
    assert weights["mean"] == ours.mean
    assert [255 * deviation for deviation in weights["std"]] == list(ours.deviation)


def clip_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    from ovrcoat.checkpoints.published_names import CLIP_NAMES, our_name

    return {
        str(our_name(key, CLIP_NAMES)).removeprefix("encoder."): value.shape for key, value in state.items()
    }


@pytest.mark.usefixtures("tiny")
def test_a_checkpoint_segments_as_before(tmp_path: Path, image_pixels: np.ndarray):
    assert_a_checkpoint_segments_as_before(MODEL, tmp_path / "mobile.safetensors", image_pixels)


def test_a_checkpoint_with_an_unknown_encoder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as known:
        known.setitem(OPEN_CLIP_MODELS, "tiny", TINY)
        network = build_network(MODEL)
    path = tmp_path / "mobile.safetensors"
    native.save(path, network, config=MODEL, training_vocabulary=Vocabulary.parse("cat"), provenance={})
    with pytest.raises(
        CheckpointError, match=r"mobile\.safetensors: unknown encoder 'tiny'; expected one of"
    ):
        native.read_header(path)
