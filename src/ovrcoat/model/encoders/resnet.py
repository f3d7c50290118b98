"""A CLIP ResNet as an encoder: four levels of features; masks embedded by attention pooling under each."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.encoders.clip_masks import resize_logits
from ovrcoat.model.encoders.clip_text import INITIAL_LOGIT_SCALE, ClipTextTower
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.structures import EncoderFeatures, MaskEmbeddings

EXPANSION = 4  # a bottleneck block gives four times the width that it works with (ResNet)


class ResNetEncoder(Encoder):
    """OpenCLIP's modified ResNet, whose attention pooling is asked once per mask, and CLIP's text tower."""

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
        self.visual_trunk = ModifiedResNet(
            blocks, embedding_dim, heads=heads, image_size=pooling_grid * 32, width=width
        )
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """The four stages; the dense map is the last one, before its pooling."""
        trunk = self.visual_trunk
        stride4 = trunk.layer1(trunk.stem(pixels))
        stride8 = trunk.layer2(stride4)
        stride16 = trunk.layer3(stride8)
        stride32 = trunk.layer4(stride16)
        return EncoderFeatures(levels=(stride4, stride8, stride16, stride32), dense=stride32)

    def embed_masks(
        self, features: EncoderFeatures, mask_logits: Float[Tensor, "batch query height width"]
    ) -> MaskEmbeddings:
        """Ask CLIP's attention pooling with only the pixels under each mask as keys."""
        dense = features.dense.to(self.visual_trunk.attnpool.positional_embedding.dtype)
        inside = resize_logits(mask_logits, dense) > 0
        return MaskEmbeddings(
            embeddings=self.attend_under_masks(dense, inside),
            valid_mask=inside.flatten(2).any(dim=-1),
        )

    def set_trunk_dtype(self, dtype: torch.dtype) -> None:
        """Compute the features in `dtype`; the pooling that ends OpenCLIP's trunk names masks and stays."""
        pooling = self.visual_trunk.attnpool
        usual = pooling.positional_embedding.dtype
        super().set_trunk_dtype(dtype)
        pooling.to(usual)

    def attend_under_masks(
        self,
        dense: Float[Tensor, "batch channel height width"],
        inside: Bool[Tensor, "batch query height width"],
    ) -> Float[Tensor, "batch query embedding"]:
        """Masked attention pooling; all masks share one query, the mean over the whole map.

        A mask without a pixel has nothing to attend to: it gets the output projection's bias, as with
        PyTorch's own attention, which returns zero then (older versions: NaN).
        """
        pooling = self.visual_trunk.attnpool
        positions = pooling.positional_embedding
        side = math.isqrt(len(positions) - 1)
        grid = positions[1:].T.unflatten(1, (side, side))[None]
        grid = F.interpolate(grid, size=dense.shape[-2:], mode="bilinear", align_corners=False)
        tokens = (dense + grid).flatten(2).transpose(1, 2)
        query = dense.flatten(2).mean(dim=-1) + positions[0]

        split = (pooling.num_heads, -1)
        queries = pooling.q_proj(query).unflatten(-1, split)  # batch, head, channel of the head
        keys = pooling.k_proj(tokens).unflatten(-1, split)  # batch, pixel, head, channel of the head
        values = pooling.v_proj(tokens).unflatten(-1, split)
        scores = torch.einsum("bhc,bphc->bhp", queries, keys) / math.sqrt(queries.shape[-1])

        allowed = inside.flatten(2)
        empty = ~allowed.any(dim=-1, keepdim=True)
        blocked = ~(allowed | empty)  # an empty mask attends everywhere here and is cleared below: no NaN
        weights = scores[:, None].masked_fill(blocked[:, :, None], -torch.inf).softmax(dim=-1)
        attended = torch.einsum("bqhp,bphc->bqhc", weights, values).flatten(2)
        return pooling.c_proj(attended.masked_fill(empty, 0))

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed sentences; not normalised."""
        return self.text_tower.embed(texts)

    def text_length(self, text: str) -> tuple[int, int]:
        """Tokens of `text`, and how many the text tower takes."""
        return self.text_tower.text_length(text)
