"""Any OpenCLIP model whose image tower is a hierarchical trunk of timm with mean pooling, as an encoder."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.model.encoders.clip_masks import pool_under_masks
from ovrcoat.model.encoders.clip_text import INITIAL_LOGIT_SCALE
from ovrcoat.model.encoders.encoder import CLIP_DEVIATION, CLIP_MEAN, Encoder
from ovrcoat.model.encoders.padded_text import PaddedTextTower
from ovrcoat.structures import EncoderFeatures, MaskEmbeddings

Color = tuple[float, float, float]


class TimmEncoder(Encoder):
    """A hierarchical trunk whose own head embeds pooled masks, and a padded text tower.

    Args:
        trunk: timm's model: `stages` with strides 4, 8, 16, 32, and a `head` that pools by the mean and
            projects into the common space.
        text_tower: OpenCLIP's text tower.
        embedding_dim: dimension of the common space.
        training_side: side of the training images, in pixels.
        mean: subtracted from RGB values in 0..255.
        deviation: by which RGB values are then divided.
    """

    mask_embedding_parts = ("head",)

    def __init__(
        self,
        trunk: Any,
        text_tower: PaddedTextTower,
        *,
        embedding_dim: int,
        training_side: int,
        mean: Color = CLIP_MEAN,
        deviation: Color = CLIP_DEVIATION,
    ) -> None:
        super().__init__()
        self.channels = tuple(level["num_chs"] for level in trunk.feature_info)
        self.embedding_dim = embedding_dim
        self.crop_side = training_side
        self.mean = mean
        self.deviation = deviation
        self.visual_trunk = trunk
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """Compute the four stages, and the map that the trunk's head pools."""
        pooled, (stride4, stride8, stride16, stride32) = self.visual_trunk.forward_intermediates(pixels)
        return EncoderFeatures(levels=(stride4, stride8, stride16, stride32), clip_features=pooled)

    def embed_masks(
        self,
        clip_features: Float[Tensor, "batch _ _ _"],
        mask_logits: Float[Tensor, "batch query height width"],
    ) -> MaskEmbeddings:
        """Average the features under each mask, then apply the trunk's head."""
        pooled, valid_mask = pool_under_masks(clip_features, mask_logits, dtype=self.logit_scale.dtype)
        return MaskEmbeddings(self.embed_features(pooled), valid_mask)

    def embed_features(self, features: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape embedding"]:
        """Apply the trunk's head to each feature vector."""
        one_pixel = features.flatten(0, -2)[..., None, None]  # the head's own pooling does not change it
        embeddings = self.visual_trunk.forward_head(one_pixel.to(self.logit_scale.dtype))
        return embeddings.unflatten(0, features.shape[:-1])

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """Return the blocks of all stages, without the downsampling between stages."""
        for stage in self.visual_trunk.stages:
            yield from stage.blocks
