"""CLIP's plain vision transformer compared with OpenCLIP's own, and a whole network around it."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from ovrcoat.checkpoints.foreign import clip_encoder_state
from ovrcoat.checkpoints.published_names import CLIP_NAMES, our_name
from ovrcoat.config import (
    OpenClipConfig,
)
from ovrcoat.model.encoders import clip_vit
from ovrcoat.model.encoders.open_clip_models import OPEN_CLIP_MODELS, OpenClipModel
from ovrcoat.model.network import build_encoder
from tiny_open_clip import assert_a_checkpoint_segments_as_before, tiny_model

NAMES = [name for name, model in OPEN_CLIP_MODELS.items() if model.module == "clip_vit"]
SIZES = {"width": 64, "layers": 2, "text_width": 64}
MODEL = tiny_model(embedding_dim=16)


def theirs(activation: str) -> open_clip.CLIP:
    """OpenCLIP's model with the sizes of `SIZES`, and biases other than zero."""
    torch.manual_seed(0)
    model = open_clip.CLIP(
        16,
        {"image_size": 224, "layers": 2, "width": 64, "patch_size": 16},
        {"width": 64, "heads": 1, "layers": 2},
        quick_gelu=activation == "quick_gelu",
    )
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.1)
    return model.eval()


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@torch.inference_mode()
def test_the_features_are_those_of_patches_that_attend_to_themselves_alone(activation: str, tmp_path: Path):
    model = theirs(activation)
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    encoder = clip_vit.build(**SIZES, embedding_dim=16, activation=activation).eval()
    encoder.load_state_dict(clip_encoder_state("ViT-B-16", file=tmp_path / "clip.pt"))

    pixels = torch.randn(1, 3, 224, 224)
    features = encoder.encode(pixels)
    tower = model.visual
    first, last = tower.transformer.resblocks
    alone = torch.full((197, 197), -torch.inf).fill_diagonal_(0)
    expected = tower.ln_post(last(first(tower._embeds(pixels)), attn_mask=alone))[0, 1:]
    torch.testing.assert_close(features.clip_features[0].flatten(1).mT, expected, atol=1e-5, rtol=1e-4)

    left = torch.full((1, 1, 56, 56), -1.0)
    left[..., :28] = 1
    masks = encoder.embed_masks(features.clip_features, left)
    mean = expected.view(14, 14, 64)[:, :7].flatten(0, 1).mean(0)
    torch.testing.assert_close(masks.embeddings[0, 0], mean @ tower.proj, atol=1e-5, rtol=1e-4)

    texts = ["a photo of a cat.", "sky"]
    embedded = model.encode_text(open_clip.get_tokenizer("ViT-B-16")(texts))
    torch.testing.assert_close(encoder.embed_texts(texts), embedded, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_images_of_any_shape_have_all_strides():
    encoder = clip_vit.build(**SIZES, embedding_dim=16).eval()
    levels = encoder.encode(torch.randn(2, 3, 64, 96)).levels
    assert [level.shape for level in levels] == [(2, 64, 64 // n, 96 // n) for n in (4, 8, 16, 32)]


@pytest.mark.parametrize("name", NAMES)
def test_the_table_equals_openclip(name: str):
    entry, config = OPEN_CLIP_MODELS[name], open_clip.get_model_config(name)
    with torch.device("meta"):
        weights = open_clip.CLIP(**config).state_dict()
        encoder = build_encoder(OpenClipConfig(name=name, embedding_dim=entry.embedding_dim))
    renamed = {str(our_name(key, CLIP_NAMES)): value.shape for key, value in weights.items()}
    assert renamed == {f"encoder.{key}": value.shape for key, value in encoder.state_dict().items()}
    assert (entry.settings["activation"] == "quick_gelu") is config.get("quick_gelu", False)
    assert open_clip.pretrained.is_pretrained_cfg(name, entry.tag)


def test_a_checkpoint_segments_as_before(
    tmp_path: Path, image_pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    entry = OpenClipModel("clip_vit", embedding_dim=16, settings=SIZES, tag="none", license="none")
    monkeypatch.setitem(OPEN_CLIP_MODELS, "tiny", entry)
    assert_a_checkpoint_segments_as_before(MODEL, tmp_path / "vit.safetensors", image_pixels)
