"""OpenCLIP's ConvNeXt as an encoder: four levels of features; masks embedded by mean pooling + CLIP's head.

The published OVRCOAT uses `convnext_large_d_320` (see `presets.py`).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.model.encoders.clip_masks import logits_on_map
from ovrcoat.model.encoders.clip_text import INITIAL_LOGIT_SCALE, ClipTextTower
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.mask_pooling import mask_pool
from ovrcoat.structures import EncoderFeatures, ImageBatch, MaskEmbeddings

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

    def forward(self, images: ImageBatch) -> EncoderFeatures:
        """Normalise, then encode; the dense map is the last stage."""
        maps = []
        pixels = self.visual_trunk.stem(self.normalise(images))
        for stage in self.visual_trunk.stages:
            pixels = stage(pixels)
            maps.append(pixels)
        stride4, stride8, stride16, stride32 = maps
        return EncoderFeatures(levels=(stride4, stride8, stride16, stride32), dense=stride32)

    def embed_masks(
        self, features: EncoderFeatures, mask_logits: Float[Tensor, "batch query height width"]
    ) -> MaskEmbeddings:
        """Average the dense map under each mask, then CLIP's norm and projection."""
        inside = logits_on_map(mask_logits, features.dense) > 0
        pooled = mask_pool(features.dense, inside.to(features.dense.dtype))
        embeddings = self.head_projection(self.head_norm(pooled))
        return MaskEmbeddings(embeddings=embeddings, on_map=inside.flatten(2).any(dim=-1))

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed sentences; not normalised."""
        return self.text_tower.embed(texts)

    def text_length(self, text: str) -> tuple[int, int]:
        """Tokens of `text`, and how many the text tower takes."""
        return self.text_tower.text_length(text)
