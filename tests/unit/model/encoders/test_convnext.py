"""ConvNeXt: mean pooling under a mask, then CLIP's head."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ovrcoat.config import ModelConfig
from ovrcoat.model.network import build_network
from tiny_clip import encoder_config, make_network


@pytest.fixture(scope="module")
def encoder():
    return make_network("convnext").encoder


def test_a_mask_embedding_is_the_head_of_the_mean_of_its_pixels(encoder):
    dense = torch.randn(1, 16, 2, 3)
    mask_logits = torch.tensor([[[[1.0, 1, -1], [-1, -1, 1]]]])
    inside = torch.stack([dense[0, :, 0, 0], dense[0, :, 0, 1], dense[0, :, 1, 2]])
    first, second = encoder.head_projection[0], encoder.head_projection[2]
    normed = F.layer_norm(inside.mean(dim=0), (16,), encoder.head_norm.weight, encoder.head_norm.bias, 1e-6)
    expected = second(F.gelu(first(normed)))
    ours = encoder.embed_masks(dense, mask_logits).embeddings[0, 0]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def test_without_hidden_width_the_head_is_linear_without_bias():
    config = encoder_config("convnext").model_copy(update={"head_hidden": None})
    head = build_network(ModelConfig(encoder=config)).encoder.head_projection
    assert isinstance(head, nn.Linear)
    assert head.bias is None


def test_every_norm_has_the_configured_epsilon():
    config = encoder_config("convnext").model_copy(update={"norm_epsilon": 3e-5})
    encoder = build_network(ModelConfig(encoder=config)).encoder
    norms = [module for module in encoder.visual_trunk.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) > 5
    assert {norm.eps for norm in (*norms, encoder.head_norm)} == {3e-5}


def test_stochastic_depth_acts_only_in_training(encoder):
    rates = [getattr(block, "drop_prob", 0.0) for block in encoder.visual_trunk.modules()]
    assert max(rates) == pytest.approx(0.1)
    assert not encoder.training
