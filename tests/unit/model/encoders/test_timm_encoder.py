"""The generic encoder with a hierarchical trunk of timm."""

import pytest
import torch
from open_clip.transformer import TextTransformer
from timm.models.convnext import ConvNeXt

from ovrcoat.config import OpenClipConfig
from ovrcoat.errors import ConfigError
from ovrcoat.model.encoders import open_clip_models
from ovrcoat.model.encoders.open_clip_models import OpenClipModel
from ovrcoat.model.encoders.padded_text import ClipTokenizer, PaddedTextTower
from ovrcoat.model.encoders.timm_encoder import TimmEncoder
from ovrcoat.model.network import build_encoder

FULL = torch.ones(1, 1, 16, 16)


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    torch.manual_seed(0)
    model = TextTransformer(
        context_length=9, vocab_size=49408, width=8, heads=2, layers=1, output_dim=16, no_causal_mask=True
    )
    return TimmEncoder(
        ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 12, 12), num_classes=16),
        PaddedTextTower(model, ClipTokenizer()),
        embedding_dim=16,
        training_side=64,
    ).eval()


@torch.inference_mode()
def test_a_mask_of_the_whole_image_is_embedded_like_the_image(encoder: TimmEncoder):
    pixels = torch.rand(1, 3, 64, 64)
    features = encoder.encode(pixels)
    assert [level.shape[1:] for level in features.levels] == [(8, 16, 16), (8, 8, 8), (12, 4, 4), (12, 2, 2)]
    masks = encoder.embed_masks(features.clip_features, FULL)
    torch.testing.assert_close(masks.embeddings[:, 0], encoder.visual_trunk(pixels), atol=1e-5, rtol=1e-5)
    assert masks.valid_mask.all()


@torch.inference_mode()
def test_an_empty_mask_is_embedded_without_nan(encoder: TimmEncoder):
    masks = encoder.embed_masks(encoder.encode(torch.rand(1, 3, 64, 64)).clip_features, -FULL)
    assert masks.embeddings.isfinite().all()
    assert not masks.valid_mask.any()


@torch.inference_mode()
def test_bfloat16_features_are_embedded_in_float32(encoder: TimmEncoder):
    before = encoder.visual_trunk.head.fc.weight.clone()
    encoder.set_trunk_dtype(torch.bfloat16)
    assert torch.equal(encoder.visual_trunk.head.fc.weight, before)  # not even rounded
    assert encoder.visual_trunk.stem[0].weight.dtype == torch.bfloat16
    try:
        features = encoder.encode(torch.rand(1, 3, 64, 64, dtype=torch.bfloat16))
        assert features.clip_features.dtype == torch.bfloat16
        assert encoder.embed_masks(features.clip_features, FULL).embeddings.dtype == torch.float32
    finally:
        encoder.set_trunk_dtype(torch.float32)


@torch.inference_mode()
def test_texts_are_padded_and_truncated(encoder: TimmEncoder):
    tower = encoder.text_tower
    assert tower.token_ids("cat") == [49406, 2368, 49407, 0, 0, 0, 0, 0, 0]
    assert tower.token_ids("cat " * 20) == [49406, *[2368] * 7, 49407]
    assert encoder.text_length("a cat") == (2, 7)
    embedded = encoder.embed_texts(["cat", "dog", "cat"])
    assert torch.equal(embedded[0], embedded[2])
    assert not torch.allclose(embedded[0], embedded[1])
    assert encoder.embed_texts([]).shape == (0, 16)


def test_only_names_of_the_table_are_built(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="unknown encoder 'hf-hub:stranger/model'; expected one of"):
        build_encoder(OpenClipConfig(name="hf-hub:stranger/model", embedding_dim=16))
    entry = OpenClipModel("absent", embedding_dim=16, settings={}, tag="none", license="none")
    monkeypatch.setitem(open_clip_models.OPEN_CLIP_MODELS, "tiny", entry)
    with pytest.raises(ConfigError, match="embedding_dim of tiny is 17, expected 16"):
        build_encoder(OpenClipConfig(name="tiny", embedding_dim=17))
