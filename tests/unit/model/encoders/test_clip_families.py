"""What ConvNeXt and ResNet encoders have in common: the contract of `Encoder`."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.structures import ImageBatch
from tiny_clip import FAMILIES, make_network


@cache
def encoder_of(family: str) -> Encoder:
    return make_network(family).encoder


@pytest.fixture(params=FAMILIES)
def encoder(request) -> Encoder:
    return encoder_of(request.param)


def make_images(*, count: int = 1, valid: tuple[int, int] = (64, 96)) -> ImageBatch:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(count, 3, 64, 96, generator=generator) * 255
    return ImageBatch(pixels=pixels, valid_sizes=(valid,) * count)


def masks(count: int = 4) -> torch.Tensor:
    return torch.randn(1, count, 16, 24, generator=torch.Generator().manual_seed(2))


def test_levels_have_the_documented_strides_and_channels(encoder):
    features = encoder(make_images(count=2))
    sizes = [tuple(level.shape) for level in features.levels]
    assert sizes == [
        (2, width, 64 // stride, 96 // stride)
        for width, stride in zip(encoder.channels, (4, 8, 16, 32), strict=True)
    ]
    assert torch.equal(features.clip_features, features.levels[-1])


def test_padding_has_no_influence(encoder):
    images = make_images(valid=(50, 70))
    other = images.pixels.clone()
    other[:, :, 50:], other[:, :, :, 70:] = 255, 7
    with torch.no_grad():
        first = encoder(images).clip_features
        second = encoder(ImageBatch(pixels=other, valid_sizes=images.valid_sizes)).clip_features
    assert torch.equal(first, second)


def test_a_batch_equals_its_images_one_by_one(encoder):
    images = make_images(count=2)
    with torch.no_grad():
        together = encoder(images).clip_features
        alone = encoder(
            ImageBatch(pixels=images.pixels[1:], valid_sizes=images.valid_sizes[1:])
        ).clip_features
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


def test_mask_embeddings_have_the_shape_of_the_common_space(encoder):
    embedded = encoder.embed_masks(encoder(make_images()).clip_features, masks())
    assert embedded.embeddings.shape == (1, 4, encoder.embedding_dim)
    assert embedded.valid_mask.all()


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.01, 100), order=st.permutations(range(4)))
def test_only_the_sign_of_mask_logits_matters_and_masks_are_independent(scale, order):
    for encoder in map(encoder_of, FAMILIES):
        with torch.no_grad():
            features = encoder(make_images())
            plain = encoder.embed_masks(features.clip_features, masks())
            changed = encoder.embed_masks(features.clip_features, masks()[:, order] * scale)
        torch.testing.assert_close(changed.embeddings, plain.embeddings[:, order], rtol=1e-4, atol=1e-5)


def test_an_empty_mask_is_not_valid_but_finite(encoder):
    mask_logits = masks()
    mask_logits[:, 1] = -1
    embedded = encoder.embed_masks(encoder(make_images()).clip_features, mask_logits)
    assert embedded.valid_mask.tolist() == [[True, False, True, True]]
    assert embedded.embeddings.isfinite().all()
    embedded.embeddings.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in encoder.parameters())
    encoder.zero_grad()


def test_gradients_reach_the_trunk_but_not_the_masks(encoder):
    mask_logits = masks().requires_grad_()
    encoder.embed_masks(
        encoder(make_images()).clip_features, mask_logits
    ).embeddings.square().sum().backward()
    assert mask_logits.grad is None
    first_convolution = next(encoder.visual_trunk.parameters())
    assert first_convolution.grad is not None
    assert first_convolution.grad.abs().sum() > 0
    encoder.zero_grad()


def test_batch_norm_stays_in_eval_mode(encoder):
    encoder.train()
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert encoder.training
    assert not any(norm.training for norm in norms)
    assert bool(norms) == (encoder is encoder_of("resnet"))
    encoder.eval()


def test_texts_go_through_the_text_tower(encoder):
    assert encoder.embed_texts(["a cat", "a dog"]).shape == (2, encoder.embedding_dim)
    assert encoder.text_length("a cat") == (2, 75)


def test_no_buffer_is_missing_from_the_state_dict(encoder):
    assert {name for name, _ in encoder.named_buffers()} <= encoder.state_dict().keys()


@torch.inference_mode()
def test_convnext_in_tiles_equals_timm(monkeypatch):
    from ovrcoat.model import tiles
    from ovrcoat.model.encoders import convnext

    encoder = encoder_of("convnext")
    pixels = encoder.normalize(make_images(count=2))
    plain = encoder.visual_trunk.stem(pixels)
    plain = [plain := stage(plain) for stage in encoder.visual_trunk.stages]
    monkeypatch.setattr(tiles, "TILE_BYTES", 1)
    monkeypatch.setattr(tiles, "MIN_TILE_ROWS", 100)  # several pieces, the last one shorter
    assert convnext.may_tile(pixels)
    for found, expected in zip(encoder.encode(pixels).levels, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_checkpointed_blocks_are_those_of_all_stages(encoder):
    blocks = list(encoder.checkpointed_blocks())
    trunk = encoder.visual_trunk
    stages = getattr(trunk, "stages", None)
    expected = (
        [block for stage in stages for block in stage.blocks]
        if stages is not None
        else [*trunk.layer1, *trunk.layer2, *trunk.layer3, *trunk.layer4]
    )
    assert len(blocks) >= 4
    assert all(block is other for block, other in zip(blocks, expected, strict=True))
