"""CLIP's plain vision transformer, with the values of its last block as features (MaskCLIP, ECCV 2022).

CLIP embeds an image by its class token, which gathers the values of all patches in the last block. Without
that attention, the value of each patch alone passes the rest of the block: the features of the patch itself,
in CLIP's space. Their mean under a mask embeds the mask.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.encoders.clip_masks import pool_under_masks
from ovrcoat.model.encoders.clip_text import INITIAL_LOGIT_SCALE, ClipTextTower
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.encoders.feature_pyramid import PATCH, feature_pyramid
from ovrcoat.structures import EncoderFeatures, MaskEmbeddings


class ClipVitEncoder(Encoder):
    """OpenCLIP's `VisionTransformer` with class token, and CLIP's text tower.

    Args:
        trunk: the transformer.
        text_tower: CLIP's text tower.
        width: of the transformer.
        embedding_dim: dimension of the common space.
    """

    mask_embedding_parts = ("proj",)

    def __init__(self, trunk: Any, text_tower: ClipTextTower, *, width: int, embedding_dim: int) -> None:
        super().__init__()
        self.channels = (width,) * 4
        self.embedding_dim = embedding_dim
        self.visual_trunk = trunk
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """Compute the value features of all patches, and resize their map to the other strides."""
        trunk = self.visual_trunk
        patches = trunk.conv1(pixels)
        class_token = trunk.class_embedding.expand(len(pixels), 1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).mT], dim=1)
        states = trunk.ln_pre(tokens + self._positions(patches))
        *blocks, last = trunk.transformer.resblocks
        for block in blocks:
            states = block(states)
        features = trunk.ln_post(_without_attention(last, states[:, 1:]))
        stride16 = features.mT.unflatten(2, patches.shape[-2:])
        return EncoderFeatures(levels=feature_pyramid(stride16), clip_features=stride16)

    def _positions(self, patches: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "1 token channel"]:
        """Return the position embeddings of the class token and of the patches, resized to their grid."""
        from timm.layers import resample_abs_pos_embed

        return resample_abs_pos_embed(
            self.visual_trunk.positional_embedding[None],
            new_size=list(patches.shape[-2:]),
            old_size=list(self.visual_trunk.grid_size),
        )

    def embed_masks(
        self,
        clip_features: Float[Tensor, "batch _ _ _"],
        mask_logits: Float[Tensor, "batch query height width"],
    ) -> MaskEmbeddings:
        """Average the features under each mask, then apply CLIP's projection."""
        pooled, valid_mask = pool_under_masks(clip_features, mask_logits, dtype=self.logit_scale.dtype)
        return MaskEmbeddings(self.embed_features(pooled), valid_mask)

    def embed_features(self, features: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape embedding"]:
        """Apply CLIP's projection to each feature vector."""
        return features.to(self.logit_scale.dtype) @ self.visual_trunk.proj

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """Return the blocks of the transformer, without the last one, of which `encode` uses parts."""
        yield from self.visual_trunk.transformer.resblocks[:-1]


def _without_attention(
    block: Any, states: Float[Tensor, "batch patch channel"]
) -> Float[Tensor, "batch patch channel"]:
    """Apply a block in which each patch attends to itself alone: its value takes the place of attention."""
    attention = block.attn
    value_weight, value_bias = attention.in_proj_weight.chunk(3)[2], attention.in_proj_bias.chunk(3)[2]
    values = F.linear(block.ln_1(states), value_weight, value_bias)
    states = states + block.ls_1(attention.out_proj(values))
    return states + block.ls_2(block.mlp(block.ln_2(states)))


def build(
    *,
    width: int,
    layers: int,
    embedding_dim: int,
    text_width: int,
    activation: Literal["gelu", "quick_gelu"] = "gelu",
) -> ClipVitEncoder:
    """Build a CLIP with random weights, for images of 224 pixels.

    Args:
        width: of the vision transformer.
        layers: of each tower.
        embedding_dim: dimension of the common space.
        text_width: of the text tower.
        activation: of both towers. OpenAI trained with the quick GELU.
    """
    from open_clip.transformer import QuickGELU, VisionTransformer

    trunk = VisionTransformer(
        image_size=224,
        patch_size=PATCH,
        width=width,
        layers=layers,
        heads=width // 64,
        mlp_ratio=4.0,
        output_dim=embedding_dim,
        act_layer=QuickGELU if activation == "quick_gelu" else nn.GELU,
    )
    text_tower = ClipTextTower(
        width=text_width,
        heads=text_width // 64,
        layers=layers,
        context_length=77,
        vocabulary_size=49_408,
        activation=activation,
        embedding_dim=embedding_dim,
    )
    return ClipVitEncoder(trunk, text_tower, width=width, embedding_dim=embedding_dim)
