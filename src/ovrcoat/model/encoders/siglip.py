"""Google's SigLIP: a plain vision transformer, attention pooling under masks, and sigmoid logits.

SigLIP was trained to answer for each pair of image and text, independently of all other pairs, whether they
belong together: by the sigmoid of scale × cosine + bias. There is no softmax over texts. Here:

- The ensemble ranks the categories of a vocabulary by the softmax of these logits. It compares categories,
  so the bias cancels.
- COAT's confidence in a mask is the sigmoid of its best category: SigLIP's own probability that the region
  and the name belong together. It depends on the bias. It does not depend on the other categories, so it is
  below 1 with a single category, and more categories never lower it.
"""

import math
from collections.abc import Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.errors import ConfigError
from ovrcoat.model.encoders.clip_masks import resize_logits
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.encoders.feature_pyramid import PATCH, feature_pyramid
from ovrcoat.model.encoders.padded_text import PaddedTextTower, Tokenizer
from ovrcoat.structures import CategoryEmbeddings, EncoderFeatures, MaskEmbeddings

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Pieces

TOKENIZER = "timm/ViT-B-16-SigLIP"  # repository on the Hugging Face Hub, for all English SigLIP models
TOKENIZER_FILE = "tokenizer.json"
INITIAL_SCALE, INITIAL_BIAS = math.log(10), -10.0  # SigLIP's initial values


class SiglipTokenizer(Tokenizer):
    """SigLIP's sentence pieces for English, read from Hugging Face's cache for the first text."""

    start = ()
    end = (1,)
    padding = 1  # SigLIP pads with the end token

    def encode(self, text: str) -> list[int]:
        """Return the sentence pieces of a text, in lower case and without punctuation.

        Raises:
            ConfigError: the tokenizer is not in the cache.
        """
        from open_clip.tokenizer import basic_clean, canonicalize_text

        return self.pieces.encode(canonicalize_text(basic_clean(text)), add_special_tokens=False).ids

    @cached_property
    def pieces(self) -> "Pieces":
        """The tokenizer. It is never downloaded here."""
        from huggingface_hub import try_to_load_from_cache
        from tokenizers import Tokenizer

        path = try_to_load_from_cache(TOKENIZER, TOKENIZER_FILE)
        if not isinstance(path, str):
            raise ConfigError(
                "SigLIP's tokenizer is not in the cache of Hugging Face, and is not downloaded implicitly. "
                f"Run once: hf download {TOKENIZER} {TOKENIZER_FILE}"
            )
        return Tokenizer.from_file(path)


class SiglipEncoder(Encoder):
    """A plain vision transformer. Masks are embedded by its attention pooling, restricted to the mask.

    The pooling averages the values of all patches, weighted by one learned query. Restricted to a mask, it
    averages the values of the patches under it, as dense features; over the whole image it is SigLIP's own.

    Args:
        trunk: timm's `VisionTransformer` with attention pooling, without class token and classifier.
        text_tower: OpenCLIP's text tower.
        embedding_dim: width of the trunk, which is the dimension of the common space.
        training_side: side of the training images, in pixels.
    """

    mask_embedding_parts = ("attn_pool",)
    max_logit_scale = math.inf  # SigLIP limits it neither in training nor later
    mean = (127.5, 127.5, 127.5)
    deviation = (127.5, 127.5, 127.5)

    def __init__(
        self, trunk: Any, text_tower: PaddedTextTower, *, embedding_dim: int, training_side: int
    ) -> None:
        super().__init__()
        self.channels = (embedding_dim,) * 4
        self.embedding_dim = embedding_dim
        self.crop_side = training_side
        self.visual_trunk = trunk
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_SCALE))
        self.logit_bias = nn.Parameter(torch.tensor(INITIAL_BIAS))

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """Compute the only map, and resize it to the other strides."""
        tokens = self.visual_trunk.forward_features(pixels)
        height, width = (side // PATCH for side in pixels.shape[-2:])
        stride16 = tokens.mT.unflatten(2, (height, width))
        return EncoderFeatures(levels=feature_pyramid(stride16), clip_features=stride16)

    def embed_masks(
        self,
        clip_features: Float[Tensor, "batch _ _ _"],
        mask_logits: Float[Tensor, "batch query height width"],
    ) -> MaskEmbeddings:
        """Apply SigLIP's attention pooling with only the patches under each mask as keys."""
        features = clip_features.to(self.logit_scale.dtype)  # small, and classification needs precision
        inside = (resize_logits(mask_logits, features) > 0).flatten(2)
        embeddings = self._pool(features.flatten(2).mT, inside)
        return MaskEmbeddings(embeddings=embeddings, valid_mask=inside.any(dim=-1))

    def _pool(
        self, tokens: Float[Tensor, "batch patch channel"], inside: Bool[Tensor, "batch query patch"]
    ) -> Float[Tensor, "batch query embedding"]:
        """Apply the pooling to the patches inside each mask; the mean value of no patches is zero."""
        pooling = self.visual_trunk.attn_pool
        heads = (pooling.num_heads, -1)
        query = pooling.q(pooling.latent).unflatten(-1, heads).transpose(1, 2)  # 1, head, 1, channel of head
        keys, values = (
            part.unflatten(-1, heads).transpose(1, 2) for part in pooling.kv(tokens).chunk(2, dim=-1)
        )
        empty = ~inside.any(dim=-1, keepdim=True)
        allowed = inside | empty  # a softmax over no key would be NaN; cleared below
        attended = F.scaled_dot_product_attention(
            query.expand(len(tokens), -1, inside.shape[1], -1), keys, values, attn_mask=allowed[:, None]
        )
        pooled = pooling.proj(attended.transpose(1, 2).flatten(2).masked_fill(empty, 0))
        return pooled + pooling.mlp(pooling.norm(pooled))

    def unknown_text(self, text: str) -> bool:
        """Return whether the sentence pieces do not represent a part of `text`. They know Latin script."""
        tokenizer = self.text_tower.tokenizer
        assert isinstance(tokenizer, SiglipTokenizer)
        return not text.isascii() and tokenizer.pieces.token_to_id("<unk>") in tokenizer.encode(text)

    def classify(
        self, embeddings: Float[Tensor, "*shape embedding"], categories: CategoryEmbeddings
    ) -> Float[Tensor, "*shape category"]:
        """Return scale × cosine + bias, the largest among the names of each category."""
        return super().classify(embeddings, categories) + self.logit_bias

    def confidence(self, category_logits: Float[Tensor, "*shape category"]) -> Float[Tensor, "*shape"]:
        """Return SigLIP's probability that the best category of each mask fits, 0..1."""
        return category_logits.amax(-1).sigmoid()

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """Return the blocks of the transformer."""
        yield from self.visual_trunk.blocks


def build(
    *, training_side: int, layers: int, embedding_dim: int, vocabulary_size: int = 32_000
) -> SiglipEncoder:
    """Build a SigLIP with random weights. Both towers are as wide as the common space.

    Args:
        training_side: side of the training images, in pixels.
        layers: of each tower.
        embedding_dim: dimension of the common space.
        vocabulary_size: number of sentence pieces; the default is that of the released English models.
    """
    from open_clip.transformer import LayerNorm, TextTransformer
    from timm.models.vision_transformer import VisionTransformer

    heads = embedding_dim // 64
    trunk = VisionTransformer(
        img_size=training_side,
        patch_size=PATCH,
        embed_dim=embedding_dim,
        depth=layers,
        num_heads=heads,
        class_token=False,
        global_pool="map",
        num_classes=0,
        dynamic_img_size=True,  # resizes the position embeddings to the image
    )
    text = TextTransformer(
        context_length=64,
        vocab_size=vocabulary_size,
        width=embedding_dim,
        heads=heads,
        layers=layers,
        output_dim=embedding_dim,
        no_causal_mask=True,
        pool_type="last",
        proj_bias=True,
        norm_layer=partial(LayerNorm, eps=1e-6),
    )
    return SiglipEncoder(
        trunk,
        PaddedTextTower(text, SiglipTokenizer()),
        embedding_dim=embedding_dim,
        training_side=training_side,
    )
