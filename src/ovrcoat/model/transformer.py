"""Layers that both decoders share: sine positions, post-norm attention, feed-forward layers, the MLP."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.linear import affine, linear

NORM_EPSILON = 1e-5  # of every LayerNorm in the decoders (PyTorch's default, used by Mask2Former)
TEMPERATURE = 10_000  # of the sine position encoding (DETR)


def sine_positions(
    height: int, width: int, *, channels: int, like: Tensor
) -> Float[Tensor, "1 channel height width"]:
    """Return DETR's two-dimensional sine encoding: y in the first half of the channels, x in the second.

    Row and column indices start at 1 and are scaled so that the last one is 2π.

    Args:
        height: number of rows.
        width: number of columns.
        channels: a multiple of 4.
        like: a tensor with the wanted dtype and device.
    """
    half = channels // 2
    channel = torch.arange(half, device=like.device, dtype=torch.float32)
    wavelength = TEMPERATURE ** (2 * torch.div(channel, 2, rounding_mode="floor") / half)

    def encode(count: int) -> Float[Tensor, "position channel"]:
        index = torch.arange(1, count + 1, device=like.device, dtype=torch.float32)
        angle = (index / (count + 1e-6) * (2 * math.pi))[:, None] / wavelength
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=-1).flatten(1)

    y = encode(height).T[:, :, None].expand(-1, height, width)
    x = encode(width).T[:, None, :].expand(-1, height, width)
    return torch.cat((y, x))[None].to(like.dtype)


class MultiLayerPerceptron(nn.Module):
    """Three linear layers with ReLU after the first two."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(*widths) for widths in ((inputs, hidden), (hidden, hidden), (hidden, outputs))
        )

    def forward(self, values: Float[Tensor, "*shape inputs"]) -> Float[Tensor, "*shape outputs"]:
        """Apply the layers to the last axis."""
        for layer in self.layers[:-1]:
            values = linear(values, layer, activation="relu")
        return linear(values, self.layers[-1])


class Attention(nn.Module):
    """Multi-head attention with parameters packed as in `nn.MultiheadAttention` (query, key, value)."""

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Float[Tensor, "batch query channel"],
        key: Float[Tensor, "batch key channel"],
        value: Float[Tensor, "batch key channel"],
        allowed: Bool[Tensor, "batch query key"] | None = None,
    ) -> Float[Tensor, "batch query channel"]:
        """Attend to the keys where `allowed` is True (for all heads), or to all keys without `allowed`."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        queries, keys, values = (
            torch.unflatten(affine(tokens, weight, bias), -1, (self.heads, -1)).transpose(1, 2)
            for tokens, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        mask = None if allowed is None else allowed[:, None]
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return linear(attended.transpose(1, 2).flatten(2), self.out_proj)


class CrossAttentionLayer(nn.Module):
    """Queries attend to one level of the multi-scale features, restricted to their masks (post-norm)."""

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.attention = Attention(channels, heads=heads)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPSILON)

    def forward(
        self,
        queries: Float[Tensor, "batch query channel"],
        pixel_features: Float[Tensor, "batch key channel"],
        *,
        query_positions: Float[Tensor, "*batch query channel"],
        key_positions: Float[Tensor, "1 key channel"],
        allowed: Bool[Tensor, "batch query key"],
    ) -> Float[Tensor, "batch query channel"]:
        """Update the queries. Positions are added to queries and keys, but not to values."""
        attended = self.attention(
            queries + query_positions, pixel_features + key_positions, pixel_features, allowed
        )
        return self.norm(queries + attended)


class SelfAttentionLayer(nn.Module):
    """Queries attend to each other (post-norm)."""

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.attention = Attention(channels, heads=heads)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPSILON)

    def forward(
        self,
        queries: Float[Tensor, "batch query channel"],
        *,
        query_positions: Float[Tensor, "*batch query channel"],
    ) -> Float[Tensor, "batch query channel"]:
        """Update the queries. Positions are added to queries and keys, but not to values."""
        positioned = queries + query_positions
        return self.norm(queries + self.attention(positioned, positioned, queries))


class FeedForwardLayer(nn.Module):
    """Two linear layers with ReLU between (post-norm)."""

    def __init__(self, channels: int, *, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPSILON)
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, tokens: Float[Tensor, "batch token channel"]) -> Float[Tensor, "batch token channel"]:
        """Update each token independently."""
        return self.norm(tokens + linear(linear(tokens, self.linear1, activation="relu"), self.linear2))
