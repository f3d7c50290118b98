"""nano: the encoder whose weights ship with the package. EfficientNet-Lite2 aligned with MiniLM.

The trunk is defined here, with every BatchNorm folded into its convolution, instead of imported from timm:
importing timm takes several times as long as nano takes for an image. A test compares the trunk with timm's
`tf_efficientnet_lite2`.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.encoders.text_batches import embed_in_batches
from ovrcoat.model.mask_pooling import inside_masks, mask_pool
from ovrcoat.structures import EncoderFeatures, MaskEmbeddings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

STEM_WIDTH = 32
# Expansion, width, number of blocks, kernel size and stride of each stage of EfficientNet-Lite2 (B0 with
# width × 1.1 and depth × 1.2).
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 3, 3, 2),
    (6, 48, 3, 5, 2),
    (6, 88, 4, 3, 2),
    (6, 120, 4, 5, 1),
    (6, 208, 5, 5, 2),
    (6, 352, 1, 3, 1),
)
LEVEL_STAGES = (1, 2, 4, 6)  # the last stage at stride 4, 8, 16, 32
FEATURES = 1280  # channels of the map that the ImageNet classifier pools


class FoldedConv(nn.Module):
    """Convolution with folded BatchNorm. If strided, TensorFlow's padding: larger at the right and bottom."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        own_padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=own_padding, groups=groups)
        self.active = active
        total = kernel - stride  # TensorFlow's SAME for sizes that are multiples of the stride
        self.padding = (total // 2, total - total // 2) * 2 if stride > 1 else None

    def forward(self, pixels: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """Convolve, then apply ReLU6 unless `active` is False."""
        convolved = self.conv(pixels if self.padding is None else F.pad(pixels, self.padding))
        return F.relu6(convolved, inplace=True) if self.active else convolved


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, filter each channel, project, and add the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [FoldedConv(inputs, hidden, 1)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            FoldedConv(hidden, hidden, kernel, stride=stride, groups=hidden),
            FoldedConv(hidden, outputs, 1, active=False),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, pixels: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """Apply the block."""
        result = self.layers(pixels)
        return result.add_(pixels) if self.residual else result


class LiteTrunk(nn.Module):
    """EfficientNet-Lite2 up to the feature map before pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = FoldedConv(3, STEM_WIDTH, 3, stride=2)
        stages, inputs = [], STEM_WIDTH
        for expansion, outputs, count, kernel, stride in STAGES:
            blocks = []
            for index in range(count):
                first = index == 0
                blocks.append(
                    InvertedResidual(
                        inputs,
                        outputs,
                        expansion=expansion,
                        kernel=kernel,
                        stride=stride if first else 1,
                    )
                )
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.head = FoldedConv(inputs, FEATURES, 1)

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """Compute the levels at strides 4 to 32, and the map that the classifier pools, at stride 32."""
        maps = []
        pixels = self.stem(pixels)
        for stage in self.stages:
            pixels = stage(pixels)
            maps.append(pixels)
        stride4, stride8, stride16, stride32 = (maps[index] for index in LEVEL_STAGES)
        return EncoderFeatures(
            levels=(stride4, stride8, stride16, stride32), clip_features=self.head(stride32)
        )


class SentenceTower(nn.Module):
    """MiniLM: a BERT whose token outputs are averaged into one vector per text."""

    def __init__(
        self, *, vocabulary_size: int, width: int, heads: int, layers: int, feed_forward: int, positions: int
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary_size, width)
        self.position_embedding = nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)  # BERT's epsilon, also in the layers
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                heads,
                feed_forward,
                dropout=0.0,
                activation="gelu",
                layer_norm_eps=1e-12,
                batch_first=True,
            )
            for _ in range(layers)
        )

    def forward(
        self, tokens: Int[Tensor, "text token"], lengths: Int[Tensor, " text"]
    ) -> Float[Tensor, "text embedding"]:
        """Encode padded token ids. Only the first `lengths` tokens of each text are used."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        padding = positions >= lengths[:, None]
        states = self.norm(self.token_embedding(tokens) + self.position_embedding(positions))
        for layer in self.layers:
            states = layer(states, src_key_padding_mask=padding)
        kept = (~padding).to(states.dtype)[..., None]
        return (states * kept).sum(dim=1) / kept.sum(dim=1)


class NanoEncoder(Encoder):
    """EfficientNet-Lite2 whose pooled features are projected into MiniLM's sentence space."""

    fits_published_sizes = False  # trained on small images
    mean = (127.0, 127.0, 127.0)  # EfficientNet-Lite was trained on (x - 127) / 128
    deviation = (128.0, 128.0, 128.0)

    def __init__(self, *, embedding_dim: int, text_tower: SentenceTower) -> None:
        super().__init__()
        self.channels = tuple(STAGES[stage][1] for stage in LEVEL_STAGES)  # type: ignore[assignment]
        self.embedding_dim = embedding_dim
        self.visual_trunk = LiteTrunk()
        self.projection = nn.Linear(FEATURES, embedding_dim)
        self.text_tower = text_tower
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """Compute the trunk's features."""
        return self.visual_trunk(pixels)

    def embed_masks(
        self,
        clip_features: Float[Tensor, "batch _ _ _"],
        mask_logits: Float[Tensor, "batch query height width"],
    ) -> MaskEmbeddings:
        """Average the features, weighted by the share of each cell that the mask covers, then project.

        CLIP's rule resizes the mask to the coarse map and binarises it. This rule loses no small mask.
        """
        features = clip_features.to(self.logit_scale.dtype)  # small, and classification needs precision
        height, width = features.shape[-2:]
        # exact in 16 bits, too: a cell has 8 × 8 pixels of the mask
        inside = inside_masks(mask_logits, dtype=mask_logits.dtype)
        coverage = F.adaptive_avg_pool2d(inside, (height, width)).to(features.dtype)
        pooled = F.normalize(mask_pool(features, coverage), dim=-1)
        embeddings = self.projection(pooled)
        return MaskEmbeddings(embeddings=embeddings, valid_mask=coverage.amax(dim=(2, 3)) > 0)

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed sentences, not normalized. Long texts are truncated."""
        return embed_in_batches(
            texts,
            token_ids=self._token_ids,
            tower=self.text_tower,
            empty=self.logit_scale.new_zeros((0, self.embedding_dim)),
        )

    def text_length(self, text: str) -> tuple[int, int]:
        """Return the number of word pieces of `text` and the largest number that the text tower takes."""
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return len(ids), self.text_tower.position_embedding.num_embeddings - 2  # without start and end

    def unknown_text(self, text: str) -> bool:
        """Return whether the tokenizer does not know a word of `text`. It knows Latin script only."""
        if text.isascii():  # always known; the tokenizer need not be loaded
            return False
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return self.tokenizer.token_to_id("[UNK]") in ids

    def checkpointed_blocks(self) -> Iterator[nn.Module]:
        """Return the inverted residual blocks of all stages."""
        for stage in self.visual_trunk.stages:
            yield from stage

    def _token_ids(self, text: str) -> list[int]:
        """Return token ids with start and end, truncated to the number of positions."""
        ids = self.tokenizer.encode(text).ids
        limit = self.text_tower.position_embedding.num_embeddings
        return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """MiniLM's word-piece tokenizer, reduced to Latin script."""
        from tokenizers import Tokenizer

        data = resources.files("ovrcoat").joinpath("weights/nano-tokenizer.json").read_bytes()
        tokenizer = Tokenizer.from_buffer(data)
        tokenizer.no_padding()
        tokenizer.no_truncation()  # `text_length` reports the full length
        return tokenizer
