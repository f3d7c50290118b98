"""Mask decoder: learned queries become masks and their embeddings in text space.

Mask2Former's masked transformer decoder with FC-CLIP's category head. It never sees a word: the head ends in
an embedding, and `text_classifier.py` compares it with any vocabulary afterwards.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.mask_pooling import mask_pool
from ovrcoat.model.transformer import (
    NORM_EPSILON,
    CrossAttentionLayer,
    FeedForwardLayer,
    MultiLayerPerceptron,
    SelfAttentionLayer,
    sine_positions,
)
from ovrcoat.structures import MaskProposals, PixelFeatures


class MaskDecoder(nn.Module):
    """Predicts before the first layer and after each; layer i looks at memory level i mod 3, coarse first."""

    def __init__(
        self,
        *,
        channels: int,
        mask_channels: int,
        queries: int,
        layers: int,
        heads: int,
        feed_forward: int,
        embedding_dim: int,
        levels: int = 3,
    ) -> None:
        super().__init__()
        self.query_features = nn.Parameter(torch.empty(queries, channels))
        self.query_positions = nn.Parameter(torch.empty(queries, channels))
        self.level_embedding = nn.Parameter(torch.empty(levels, channels))
        for embedding in (self.query_features, self.query_positions, self.level_embedding):
            nn.init.normal_(embedding)
        self.cross_attention = nn.ModuleList(
            CrossAttentionLayer(channels, heads=heads) for _ in range(layers)
        )
        self.self_attention = nn.ModuleList(SelfAttentionLayer(channels, heads=heads) for _ in range(layers))
        self.feed_forward = nn.ModuleList(
            FeedForwardLayer(channels, hidden=feed_forward) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels, eps=NORM_EPSILON)
        self.mask_head = MultiLayerPerceptron(channels, channels, mask_channels)
        self.pooled_projection = nn.Sequential(
            nn.LayerNorm(mask_channels, eps=NORM_EPSILON), nn.Linear(mask_channels, channels)
        )
        self.embedding_head = MultiLayerPerceptron(channels, channels, embedding_dim)

    def forward(self, pixels: PixelFeatures, *, every_layer: bool = False) -> tuple[MaskProposals, ...]:
        """Predict; the last proposals are the final ones.

        With `every_layer` (training) all `layers + 1` predictions come back; without it only the last, and
        the category head, which no later layer needs, runs once.
        """
        keys, key_positions = self._memory_tokens(pixels)
        # resizing is linear: a level's attention mask is the product with the pixels resized to that level
        coarse = (
            () if every_layer else tuple(_resize(pixels.per_pixel, like=level) for level in pixels.memory)
        )
        queries = self.query_features.expand(pixels.per_pixel.shape[0], -1, -1)
        proposals = []
        for index in range(len(self.cross_attention)):
            level = index % len(keys)
            normed = self.norm(queries)
            mask_logits = self.masks(normed, pixels.per_pixel if every_layer else coarse[level])
            if every_layer:
                proposals.append(MaskProposals(mask_logits, self.embed(normed, mask_logits, pixels)))
            queries = self.cross_attention[index](
                queries,
                keys[level],
                query_positions=self.query_positions,
                memory_positions=key_positions[level],
                allowed=attention_mask(mask_logits, pixels.memory[level]),
            )
            queries = self.self_attention[index](queries, query_positions=self.query_positions)
            queries = self.feed_forward[index](queries)
        normed = self.norm(queries)
        mask_logits = self.masks(normed, pixels.per_pixel)
        proposals.append(MaskProposals(mask_logits, self.embed(normed, mask_logits, pixels)))
        return tuple(proposals)

    def masks(
        self,
        normed: Float[Tensor, "batch query channel"],
        per_pixel: Float[Tensor, "batch mask_channel height width"],
    ) -> Float[Tensor, "batch query height width"]:
        """Mask logits: each query's mask embedding against every pixel."""
        products = torch.matmul(self.mask_head(normed), per_pixel.flatten(2))
        return torch.unflatten(products, 2, per_pixel.shape[-2:])

    def embed(
        self,
        normed: Float[Tensor, "batch query channel"],
        mask_logits: Float[Tensor, "batch query height width"],
        pixels: PixelFeatures,
    ) -> Float[Tensor, "batch query embedding"]:
        """FC-CLIP's category head: the query plus what lies under its mask, in text space, not normalised."""
        under_mask = (mask_logits.detach() > 0).to(pixels.per_pixel.dtype)
        pooled = mask_pool(pixels.per_pixel, under_mask)
        return self.embedding_head(self.pooled_projection(pooled) + normed)

    def _memory_tokens(self, pixels: PixelFeatures) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens and positions of every level, row-major."""
        keys, positions = [], []
        for level, embedding in zip(pixels.memory, self.level_embedding, strict=True):
            keys.append(level.flatten(2).transpose(1, 2) + embedding)
            height, width = level.shape[-2:]
            sine = sine_positions(height, width, channels=level.shape[1], like=level)
            positions.append(sine.flatten(2).transpose(1, 2))
        return keys, positions


def attention_mask(
    mask_logits: Float[Tensor, "batch query _ _"], level: Float[Tensor, "batch channel height width"]
) -> Bool[Tensor, "batch query key"]:
    """Where each query may look in `level`: inside its own mask, or everywhere if that is empty there."""
    inside = _resize(mask_logits.detach(), like=level).flatten(2) >= 0
    return inside | ~inside.any(dim=-1, keepdim=True)


def _resize(
    maps: Float[Tensor, "batch channel _ _"], *, like: Float[Tensor, "batch _ height width"]
) -> Float[Tensor, "batch channel height width"]:
    """Bilinear, no corner alignment."""
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)
