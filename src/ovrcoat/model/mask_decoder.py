"""Mask decoder: learned queries become masks and their embeddings in text space.

This is Mask2Former's masked transformer decoder with FC-CLIP's category head. It does not depend on the
vocabulary: the head returns an embedding, which `text_classifier.py` compares with any vocabulary.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.mask_pooling import mask_pool
from ovrcoat.model.query_selection import QuerySelector
from ovrcoat.model.transformer import (
    NORM_EPSILON,
    CrossAttentionLayer,
    FeedForwardLayer,
    MultiLayerPerceptron,
    SelfAttentionLayer,
    sine_positions,
)
from ovrcoat.structures import MaskProposals, PixelFeatures

LEVELS = 3  # of the multi-scale features: strides 32, 16 and 8 (Mask2Former)


class MaskDecoder(nn.Module):
    """Transformer decoder that predicts before its first layer and after each layer.

    Layer i attends to level i mod 3 of the multi-scale features, coarse first. Selected queries
    (`query_selection.py`), if there are any, follow the learned ones.
    """

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
        selected_queries: int = 0,
    ) -> None:
        super().__init__()
        self.query_features = nn.Parameter(torch.empty(queries, channels))
        self.query_positions = nn.Parameter(torch.empty(queries, channels))
        self.level_embedding = nn.Parameter(torch.empty(LEVELS, channels))
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
        self.pooled_projection: nn.Module = nn.Sequential(
            nn.LayerNorm(mask_channels, eps=NORM_EPSILON), nn.Linear(mask_channels, channels)
        )
        self.embedding_head: nn.Module = MultiLayerPerceptron(channels, channels, embedding_dim)
        self.selector = QuerySelector(channels, count=selected_queries) if selected_queries else None

    def forward(self, pixels: PixelFeatures, *, every_layer: bool = False) -> tuple[MaskProposals, ...]:
        """Predict masks.

        Args:
            pixels: output of the pixel decoder.
            every_layer: return all `layers + 1` predictions, for training. Otherwise the intermediate masks
                are computed at the resolution of the attention masks only, and the category head runs once.

        Returns:
            The predictions in order. The last one is the final one.
        """
        features = pixels.mask_features
        levels = pixels.multi_scale_features
        keys, key_positions = self._tokens(levels)
        # Resizing is linear: masks at the size of a level are products with features resized to that level.
        resized = () if every_layer else tuple(_resize(features, like=level) for level in levels)
        queries = self.query_features.expand(features.shape[0], -1, -1)
        query_positions: Tensor = self.query_positions
        selection = None if self.selector is None else self.selector(levels[-1], key_positions[-1])
        if selection is not None:
            query_positions = torch.cat((query_positions.expand_as(queries), selection.positions), dim=1)
            queries = torch.cat((queries, selection.features), dim=1)
        proposals = []
        for index in range(len(self.cross_attention)):
            level = index % len(keys)
            normed = self.norm(queries)
            mask_logits = self.masks(normed, features if every_layer else resized[level])
            if every_layer:
                embeddings = self.embed(normed, mask_logits, pixels)
                proposals.append(MaskProposals(mask_logits, embeddings, normed, selection))
            queries = self.cross_attention[index](
                queries,
                keys[level],
                query_positions=query_positions,
                key_positions=key_positions[level],
                allowed=attention_mask(mask_logits, levels[level]),
            )
            queries = self.self_attention[index](queries, query_positions=query_positions)
            queries = self.feed_forward[index](queries)
        normed = self.norm(queries)
        mask_logits = self.masks(normed, features)
        embeddings = self.embed(normed, mask_logits, pixels)
        proposals.append(MaskProposals(mask_logits, embeddings, normed, selection if every_layer else None))
        return tuple(proposals)

    def masks(
        self,
        normed: Float[Tensor, "batch query channel"],
        mask_features: Float[Tensor, "batch mask_channel height width"],
    ) -> Float[Tensor, "batch query height width"]:
        """Return mask logits: the product of each query's mask embedding with the features of every pixel."""
        products = torch.matmul(self.mask_head(normed), mask_features.flatten(2))
        return torch.unflatten(products, 2, mask_features.shape[-2:])

    def embed(
        self,
        normed: Float[Tensor, "batch query channel"],
        mask_logits: Float[Tensor, "batch query height width"],
        pixels: PixelFeatures,
    ) -> Float[Tensor, "batch query embedding"]:
        """Apply FC-CLIP's category head to each query and the features pooled under its mask.

        Returns:
            Embeddings in text space, not normalized.
        """
        masks = (mask_logits.detach() > 0).to(pixels.mask_features.dtype)
        pooled = mask_pool(pixels.mask_features, masks)
        return self.embedding_head(self.pooled_projection(pooled) + normed)

    def _tokens(
        self, levels: tuple[Float[Tensor, "batch channel _ _"], ...]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return tokens and position encodings of every level, row-major."""
        keys, positions = [], []
        for level, embedding in zip(levels, self.level_embedding, strict=True):
            keys.append(level.flatten(2).transpose(1, 2) + embedding)
            height, width = level.shape[-2:]
            sine = sine_positions(height, width, channels=level.shape[1], like=level)
            positions.append(sine.flatten(2).transpose(1, 2))
        return keys, positions


def attention_mask(
    mask_logits: Float[Tensor, "batch query _ _"], level: Float[Tensor, "batch channel height width"]
) -> Bool[Tensor, "batch query key"]:
    """Return which cells of `level` each query may attend to.

    These are the cells inside its mask, or all cells if the mask is empty at this resolution.
    """
    inside = _resize(mask_logits.detach(), like=level).flatten(2) >= 0
    return inside | ~inside.any(dim=-1, keepdim=True)


def _resize(
    maps: Float[Tensor, "batch channel _ _"], *, like: Float[Tensor, "batch _ height width"]
) -> Float[Tensor, "batch channel height width"]:
    """Resize bilinearly, without corner alignment, to the size of `like`."""
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)
