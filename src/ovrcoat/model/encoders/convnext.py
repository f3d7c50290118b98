"""OpenCLIP's ConvNeXt as an encoder. Masks are embedded by mean pooling, then CLIP's own head.

The published OVRCOAT models use `convnext_large_d_320` (see `presets.py`).
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.model.encoders.clip_masks import pool_under_masks
from ovrcoat.model.encoders.clip_text import INITIAL_LOGIT_SCALE, ClipTextTower
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.linear import prepared
from ovrcoat.model.tiles import may_tile, tiles
from ovrcoat.structures import EncoderFeatures, MaskEmbeddings

Stages = tuple[int, int, int, int]  # one number per stage


class ConvNextEncoder(Encoder):
    """timm's ConvNeXt trunk, OpenCLIP's head applied to pooled masks, and CLIP's text tower."""

    crop_side = 320  # training size of the published `convnext_large_d_320`

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
        self.visual_trunk.head = nn.Identity()  # replaced by `head_norm` and `head_projection`
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
        """Compute the four stages. CLIP's feature map is the last one."""
        maps = []
        pixels = self.visual_trunk.stem(pixels)
        for stage in self.visual_trunk.stages:
            pixels = _run_in_tiles(stage, pixels) if may_tile(pixels) else stage(pixels)
            maps.append(pixels)
        stride4, stride8, stride16, stride32 = maps
        return EncoderFeatures(levels=(stride4, stride8, stride16, stride32), clip_features=stride32)

    def embed_masks(
        self,
        clip_features: Float[Tensor, "batch _ _ _"],
        mask_logits: Float[Tensor, "batch query height width"],
    ) -> MaskEmbeddings:
        """Average CLIP's features under each mask, then apply CLIP's norm and projection."""
        pooled, valid_mask = pool_under_masks(clip_features, mask_logits, dtype=self.head_norm.weight.dtype)
        return MaskEmbeddings(self._apply_head(pooled), valid_mask)

    def embed_features(self, features: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape embedding"]:
        """Apply CLIP's norm and projection to each feature vector."""
        return self._apply_head(features.to(self.head_norm.weight.dtype))

    def _apply_head(self, features: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape embedding"]:
        return self.head_projection(self.head_norm(features))

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """Return the blocks of all stages, without the downsampling between stages."""
        for stage in self.visual_trunk.stages:
            yield from stage.blocks


def _run_in_tiles(stage: Any, pixels: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
    """Run a stage of the trunk in inference on a CPU.

    After its convolution, a ConvNeXt block processes every pixel independently. This function computes what
    timm's blocks compute, tile by tile, so that the wide intermediate results stay in the CPU caches.
    """
    pixels = stage.downsample(pixels)
    for block in stage.blocks:
        filtered = block.conv_dw(pixels).contiguous(memory_format=torch.channels_last)
        inputs = pixels.permute(0, 2, 3, 1).flatten(0, 2)
        # a view: writing to it writes to `filtered`
        tokens = filtered.permute(0, 2, 3, 1).flatten(0, 2)
        expand = prepared(block.mlp.fc1, like=tokens, rows=len(tokens), activation="gelu")
        project = prepared(block.mlp.fc2, like=tokens, rows=len(tokens))
        for tile in tiles(len(tokens), width=block.mlp.fc1.out_features, like=tokens):
            residual = project(expand(block.norm(tokens[tile])))
            torch.addcmul(inputs[tile], residual, block.gamma, out=tokens[tile])
        pixels = filtered
    return pixels
