import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ovrcoat.model.transformer import (
    Attention,
    CrossAttentionLayer,
    FeedForwardLayer,
    MultiLayerPerceptron,
    SelfAttentionLayer,
    sine_positions,
)


@pytest.mark.parametrize(("height", "width"), [(3, 5), (1, 1), (6, 2)])
def test_positions_follow_the_formula(height: int, width: int):
    positions = sine_positions(height, width, channels=16, like=torch.zeros(()))
    assert positions.shape == (1, 16, height, width)
    for row in range(height):
        for column in range(width):
            for channel in range(16):
                place = (row + 1) / height if channel < 8 else (column + 1) / width
                pair = (channel % 8) // 2
                angle = 2 * math.pi * place / 10_000 ** (2 * pair / 8)
                expected = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
                assert positions[0, channel, row, column].item() == pytest.approx(expected, abs=1e-5)


def test_positions_have_the_requested_dtype():
    like = torch.zeros((), dtype=torch.float64)
    assert sine_positions(2, 2, channels=8, like=like).dtype == torch.float64


def twins(channels: int = 8, heads: int = 2) -> tuple[Attention, nn.MultiheadAttention]:
    """Ours and PyTorch's with the same random weights."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(channels, heads, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    nn.init.normal_(theirs.out_proj.bias)
    ours = Attention(channels, heads=heads)
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs.eval()


@torch.no_grad()
def test_attention_equals_pytorch():
    ours, theirs = twins()
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    expected, _ = theirs(query, key, value)
    torch.testing.assert_close(ours(query, key, value), expected)


@torch.no_grad()
def test_masked_attention_equals_pytorch():
    ours, theirs = twins()
    query, key, value = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    allowed = torch.rand(2, 3, 5) > 0.5
    allowed[..., 0] = True
    expected, _ = theirs(query, key, value, attn_mask=~allowed.repeat_interleave(2, dim=0))
    torch.testing.assert_close(ours(query, key, value, allowed), expected)


@torch.no_grad()
def test_masked_keys_have_no_influence():
    ours, _ = twins()
    query, memory = torch.randn(1, 2, 8), torch.randn(1, 4, 8)
    allowed = torch.tensor([[[True, True, False, False], [True, True, True, True]]])
    before = ours(query, memory, memory, allowed)
    memory[:, 2:] += 1
    after = ours(query, memory, memory, allowed)
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert not torch.allclose(after[:, 1], before[:, 1])


@torch.no_grad()
def test_cross_attention_adds_positions_to_queries_and_keys_only():
    layer = CrossAttentionLayer(8, heads=2)
    queries, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    query_positions, key_positions = torch.randn(3, 8), torch.randn(1, 5, 8)
    allowed = torch.ones(2, 3, 5, dtype=torch.bool)
    attended = layer.attention(queries + query_positions, memory + key_positions, memory)
    result = layer(
        queries,
        memory,
        query_positions=query_positions,
        key_positions=key_positions,
        allowed=allowed,
    )
    torch.testing.assert_close(result, layer.norm(queries + attended))


@torch.no_grad()
def test_self_attention_adds_positions_to_queries_and_keys_only():
    layer = SelfAttentionLayer(8, heads=2)
    queries, positions = torch.randn(2, 3, 8), torch.randn(3, 8)
    attended = layer.attention(queries + positions, queries + positions, queries)
    torch.testing.assert_close(layer(queries, query_positions=positions), layer.norm(queries + attended))


@torch.no_grad()
def test_feed_forward_and_perceptron_equal_their_formulas():
    layer, tokens = FeedForwardLayer(8, hidden=16), torch.randn(2, 3, 8)
    hidden = F.relu(tokens @ layer.linear1.weight.T + layer.linear1.bias)
    expected = layer.norm(tokens + hidden @ layer.linear2.weight.T + layer.linear2.bias)
    torch.testing.assert_close(layer(tokens), expected)

    perceptron = MultiLayerPerceptron(8, 16, 4)
    first, second, third = perceptron.layers
    torch.testing.assert_close(perceptron(tokens), third(F.relu(second(F.relu(first(tokens))))))
    assert perceptron(tokens).shape == (2, 3, 4)
    assert perceptron(tokens).min() < 0  # no ReLU at the end
