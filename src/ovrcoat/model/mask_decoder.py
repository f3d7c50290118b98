"""Mask decoder: learned queries become masks and their embeddings in text space.

This is Mask2Former's masked transformer decoder with FC-CLIP's category head. It does not depend on the
vocabulary: the head returns an embedding, which `text_classifier.py` compares with any vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.mask_extent import add_extents
from ovrcoat.model.mask_pooling import inside_masks, mask_pool
from ovrcoat.model.query_selection import QuerySelector, start_cells
from ovrcoat.model.tiles import may_tile
from ovrcoat.model.transformer import (
    NORM_EPSILON,
    CrossAttentionLayer,
    FeedForwardLayer,
    MultiLayerPerceptron,
    SelfAttentionLayer,
    sine_positions,
)
from ovrcoat.structures import MaskExtents, MaskProposals, PixelFeatures, QuerySelection

LEVELS = 3  # of the multi-scale features: strides 32, 16 and 8 (Mask2Former)


class MaskDecoder(nn.Module):
    """Transformer decoder that predicts before its first layer and after each layer.

    Layer i attends to level i mod 3 of the multi-scale features, coarse first. Selected queries
    (`query_selection.py`), if there are any, follow the learned ones. If their masks are limited to an extent
    (`mask_extent.py`), each can always attend to the cell where it starts.
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
        selector: QuerySelector | None = None,
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
        self.selector = selector

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
        starts = self._starts(selection, levels)
        proposals = []
        for index in range(len(self.cross_attention)):
            level = index % len(keys)
            normed = self.norm(queries)
            if every_layer:
                proposals.append(self.predict(normed, pixels, selection))
                mask_logits = proposals[-1].mask_logits
            else:
                extents = self._extents(normed, selection)
                mask_logits = self.masks(normed, resized[level], extents, size=features.shape[-2:])
            queries = self.cross_attention[index](
                queries,
                keys[level],
                query_positions=query_positions,
                key_positions=key_positions[level],
                allowed=attention_mask(mask_logits, levels[level], starts=starts[level]),
            )
            queries = self.self_attention[index](queries, query_positions=query_positions)
            queries = self.feed_forward[index](queries)
        final = self.predict(self.norm(queries), pixels, selection)
        proposals.append(final if every_layer else replace(final, selection=None, extents=None))
        return tuple(proposals)

    def predict(
        self,
        normed: Float[Tensor, "batch query channel"],
        pixels: PixelFeatures,
        selection: QuerySelection | None,
    ) -> MaskProposals:
        """Predict masks and embeddings from the queries after a layer and its norm."""
        extents = self._extents(normed, selection)
        mask_logits = self.masks(normed, pixels.mask_features, extents)
        embeddings = self.embed(normed, mask_logits, pixels)
        return MaskProposals(mask_logits, embeddings, normed, selection, extents)

    def masks(
        self,
        normed: Float[Tensor, "batch query channel"],
        mask_features: Float[Tensor, "batch mask_channel height width"],
        extents: MaskExtents | None = None,
        *,
        size: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch query height width"]:
        """Return mask logits: the product of each query's mask embedding with the features of every pixel.

        Args:
            normed: queries after a layer and its norm.
            mask_features: of the pixel decoder, or resized.
            extents: of the masks of the selected queries.
            size: height and width of the mask features before they were resized.
        """
        products = _products(self.mask_head(normed), mask_features)
        if extents is None:
            return products
        return add_extents(products, extents, size=size or mask_features.shape[-2:])

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
        masks = inside_masks(mask_logits, dtype=pixels.mask_features.dtype)
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

    def _extents(
        self, normed: Float[Tensor, "batch query channel"], selection: QuerySelection | None
    ) -> MaskExtents | None:
        """Predict the extents of the masks of the selected queries, if they have extents."""
        if self.selector is None or self.selector.extent is None or selection is None:
            return None
        return self.selector.extent(normed[:, -selection.cells.shape[1] :], selection)

    def _starts(
        self, selection: QuerySelection | None, levels: Sequence[Float[Tensor, "batch channel _ _"]]
    ) -> list[Int[Tensor, "batch selected"] | None]:
        """Return the cell of each level in which each selected query starts, if masks have extents."""
        if self.selector is None or self.selector.extent is None or selection is None:
            return [None] * len(levels)
        return [start_cells(selection, height=level.shape[-2], width=level.shape[-1]) for level in levels]


def _products(
    embeddings: Float[Tensor, "batch query channel"], features: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "batch query height width"]:
    """Return the product of each mask embedding with the features of every pixel."""
    pixels = features.flatten(2)
    if len(features) == 1 and may_tile(features):
        # channels-last features: `matmul` would first copy them to another layout, which takes as long
        products = F.linear(embeddings[0], pixels[0].mT)[None]
    else:
        products = torch.matmul(embeddings, pixels)
    return torch.unflatten(products, 2, features.shape[-2:])


def attention_mask(
    mask_logits: Float[Tensor, "batch query _ _"],
    level: Float[Tensor, "batch channel height width"],
    *,
    starts: Int[Tensor, "batch selected"] | None = None,
) -> Bool[Tensor, "batch query key"]:
    """Return which cells of `level` each query may attend to.

    These are the cells inside its mask, or all cells if the mask is empty at this resolution. The last
    queries can always attend to their cell in `starts`: small masks, which vanish on coarse levels, keep it.
    """
    inside = _resize(mask_logits.detach(), like=level).flatten(2) >= 0
    if starts is not None:
        inside[:, -starts.shape[1] :].scatter_(2, starts[..., None], True)
    return inside | ~inside.any(dim=-1, keepdim=True)


def _resize(
    maps: Float[Tensor, "batch channel _ _"], *, like: Float[Tensor, "batch _ height width"]
) -> Float[Tensor, "batch channel height width"]:
    """Resize bilinearly, without corner alignment, to the size of `like`."""
    if maps.shape[-2:] == like.shape[-2:]:
        return maps
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)
