"""OpenCLIP's ConvNeXt as an encoder: four levels of features; masks embedded by mean pooling + CLIP's head.

The published OVRCOAT uses `convnext_large_d_320` (see `presets.py`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.model.encoders.clip_masks import resize_logits
from ovrcoat.model.encoders.clip_text import INITIAL_LOGIT_SCALE, ClipTextTower
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.linear import prepared
from ovrcoat.model.mask_pooling import mask_pool
from ovrcoat.model.tiles import may_tile, tiles
from ovrcoat.structures import EncoderFeatures, MaskEmbeddings

Stages = tuple[int, int, int, int]  # a number for each of the four stages


class ConvNextEncoder(Encoder):
    """timm's ConvNeXt trunk, OpenCLIP's head behind a pooling under masks, CLIP's text tower."""

    def __init__(
        self,
        *,
        depths: Stages,
        widths: Stages,
        head_hidden: int | None,
        norm_epsilon: float,
        drop_path: float,
        embedding_dim: int,
        text_tower: ClipTextTower,
    ) -> None:
        super().__init__()
        from timm.models.convnext import ConvNeXt

        self.channels = widths
        self.embedding_dim = embedding_dim
        self.visual_trunk = ConvNeXt(
            depths=depths, dims=widths, num_classes=0, norm_eps=norm_epsilon, drop_path_rate=drop_path
        )
        self.visual_trunk.head = nn.Identity()  # ours follows the pooling under each mask
        self.head_norm = nn.LayerNorm(widths[-1], eps=norm_epsilon)
        self.head_projection: nn.Module
        if head_hidden is None:
            self.head_projection = nn.Linear(widths[-1], embedding_dim, bias=False)
        else:
            self.head_projection = nn.Sequential(
                nn.Linear(widths[-1], head_hidden),
                nn.GELU(),
                nn.Linear(head_hidden, embedding_dim, bias=False),
            )
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """The four stages; the dense map is the last one."""
        maps = []
        pixels = self.visual_trunk.stem(pixels)
        for stage in self.visual_trunk.stages:
            pixels = _run_in_tiles(stage, pixels) if may_tile(pixels) else stage(pixels)
            maps.append(pixels)
        stride4, stride8, stride16, stride32 = maps
        return EncoderFeatures(levels=(stride4, stride8, stride16, stride32), dense=stride32)

    def embed_masks(
        self, features: EncoderFeatures, mask_logits: Float[Tensor, "batch query height width"]
    ) -> MaskEmbeddings:
        """Average the dense map under each mask, then CLIP's norm and projection."""
        dense = features.dense.to(self.head_norm.weight.dtype)  # small; naming masks needs its precision
        inside = resize_logits(mask_logits, dense) > 0
        pooled = mask_pool(dense, inside.to(dense.dtype))
        embeddings = self.head_projection(self.head_norm(pooled))
        return MaskEmbeddings(embeddings=embeddings, valid_mask=inside.flatten(2).any(dim=-1))

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed sentences; not normalised."""
        return self.text_tower.embed(texts)

    def text_length(self, text: str) -> tuple[int, int]:
        """Tokens of `text`, and how many the text tower takes."""
        return self.text_tower.text_length(text)


def _run_in_tiles(stage: Any, pixels: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
    """A stage of the trunk in inference: its blocks treat every pixel by itself after their convolution.

    Computes what timm's blocks compute, from their own parts, but keeps the wide inner results in the caches.
    """
    pixels = stage.downsample(pixels)
    for block in stage.blocks:
        filtered = block.conv_dw(pixels).contiguous(memory_format=torch.channels_last)
        before = pixels.permute(0, 2, 3, 1).flatten(0, 2)
        rows = filtered.permute(0, 2, 3, 1).flatten(
            0, 2
        )  # a view: what is written there is written to the map
        widen = prepared(block.mlp.fc1, like=rows, rows=len(rows), activation="gelu")
        narrow = prepared(block.mlp.fc2, like=rows, rows=len(rows))
        for piece in tiles(len(rows), width=block.mlp.fc1.out_features, like=rows):
            added = narrow(widen(block.norm(rows[piece])))
            torch.addcmul(before[piece], added, block.gamma, out=rows[piece])
        pixels = filtered
    return pixels
