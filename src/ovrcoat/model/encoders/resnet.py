"""OpenAI's CLIP ResNet as an encoder. CLIP's attention pooling, restricted to a mask, embeds the mask."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.encoders.clip_masks import resize_logits
from ovrcoat.model.encoders.clip_text import INITIAL_LOGIT_SCALE, ClipTextTower
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.structures import EncoderFeatures, MaskEmbeddings

EXPANSION = 4  # output channels of a bottleneck block per inner channel (ResNet)


class ResNetEncoder(Encoder):
    """OpenCLIP's modified ResNet, its attention pooling applied per mask, and CLIP's text tower."""

    mask_embedding_parts = ("attnpool",)

    def __init__(
        self,
        *,
        blocks: tuple[int, int, int, int],
        width: int,
        heads: int,
        pooling_grid: int,
        embedding_dim: int,
        text_tower: ClipTextTower,
    ) -> None:
        super().__init__()
        from open_clip.modified_resnet import ModifiedResNet

        first = width * EXPANSION
        self.channels = (first, first * 2, first * 4, first * 8)
        self.embedding_dim = embedding_dim
        self.crop_side = pooling_grid * 32  # the training size
        self.visual_trunk = ModifiedResNet(
            blocks, embedding_dim, heads=heads, image_size=pooling_grid * 32, width=width
        )
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """Compute the four stages. CLIP's feature map is the last one, before its pooling."""
        trunk = self.visual_trunk
        stride4 = trunk.layer1(trunk.stem(pixels))
        stride8 = trunk.layer2(stride4)
        stride16 = trunk.layer3(stride8)
        stride32 = trunk.layer4(stride16)
        return EncoderFeatures(levels=(stride4, stride8, stride16, stride32), clip_features=stride32)

    def embed_masks(
        self,
        clip_features: Float[Tensor, "batch _ _ _"],
        mask_logits: Float[Tensor, "batch query height width"],
    ) -> MaskEmbeddings:
        """Apply CLIP's attention pooling with only the cells under each mask as keys."""
        features = clip_features.to(self.visual_trunk.attnpool.positional_embedding.dtype)
        inside = resize_logits(mask_logits, features) > 0
        return MaskEmbeddings(
            embeddings=self.attend_under_masks(features, inside),
            valid_mask=inside.flatten(2).any(dim=-1),
        )

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """Return the bottleneck blocks of all stages."""
        trunk = self.visual_trunk
        for stage in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4):
            yield from stage

    def attend_under_masks(
        self,
        features: Float[Tensor, "batch channel height width"],
        inside: Bool[Tensor, "batch query height width"],
    ) -> Float[Tensor, "batch query embedding"]:
        """Apply masked attention pooling. All masks share one query, the mean over the whole map.

        For a mask without a cell the result is the bias of the output projection, because PyTorch's own
        attention returns zero for a query without keys (NaN in older versions).
        """
        pooling = self.visual_trunk.attnpool
        positions = pooling.positional_embedding
        side = math.isqrt(len(positions) - 1)
        grid = positions[1:].T.unflatten(1, (side, side))[None]
        grid = F.interpolate(grid, size=features.shape[-2:], mode="bilinear", align_corners=False)
        tokens = (features + grid).flatten(2).transpose(1, 2)
        query = features.flatten(2).mean(dim=-1) + positions[0]

        split = (pooling.num_heads, -1)
        queries = pooling.q_proj(query).unflatten(-1, split)  # batch, head, channel of the head
        keys = pooling.k_proj(tokens).unflatten(-1, split)  # batch, cell, head, channel of the head
        values = pooling.v_proj(tokens).unflatten(-1, split)
        scores = torch.einsum("bhc,bphc->bhp", queries, keys) / math.sqrt(queries.shape[-1])

        allowed = inside.flatten(2)
        empty = ~allowed.any(dim=-1, keepdim=True)
        blocked = ~(allowed | empty)  # an empty mask attends everywhere, to avoid NaN, and is cleared below
        weights = scores[:, None].masked_fill(blocked[:, :, None], -torch.inf).softmax(dim=-1)
        attended = torch.einsum("bqhp,bphc->bqhc", weights, values).flatten(2)
        return pooling.c_proj(attended.masked_fill(empty, 0))
