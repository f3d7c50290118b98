"""The contract of an encoder: CLIP as the network sees it.

One image tower, one text tower, one common space. Everything that differs between CLIP families
(normalisation, how the features under a mask are pooled, the tokenizer) stays behind these calls.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.structures import EncoderFeatures, ImageBatch, MaskEmbeddings

# CLIP's mean and deviation in 0..255, as the published configuration files write them.
CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
CLIP_DEVIATION = (68.5005327, 66.6321579, 70.32316305)


class Encoder(nn.Module, ABC):
    """Base of all encoders; a subclass sets the attributes below in its constructor."""

    visual_trunk: Any  # the convolutional module; its weights alone may be of another dtype
    channels: tuple[int, int, int, int]  # of the levels at strides 4, 8, 16, 32
    embedding_dim: int
    logit_scale: nn.Parameter  # CLIP's, as a logarithm; the classifier clamps exp(logit_scale) at 100
    mean: tuple[float, float, float] = CLIP_MEAN
    deviation: tuple[float, float, float] = CLIP_DEVIATION

    def forward(self, images: ImageBatch) -> EncoderFeatures:
        """Normalise with the tower's own mean and deviation, then encode."""
        return self.encode(self.normalise(images))

    @abstractmethod
    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """The trunk's features of normalised images; tensors alone, so that it can be compiled."""

    @abstractmethod
    def embed_masks(
        self, features: EncoderFeatures, mask_logits: Float[Tensor, "batch query height width"]
    ) -> MaskEmbeddings:
        """Embed what each mask (logit > 0) covers; not normalised. No gradient flows into the masks."""

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed sentences; not normalised. Bounded in memory however many texts come."""

    @abstractmethod
    def text_length(self, text: str) -> tuple[int, int]:
        """Tokens that `text` takes, and the most that the text tower takes (both without start and end)."""

    def normalise(self, images: ImageBatch) -> Float[Tensor, "batch 3 height width"]:
        """(RGB - mean) / deviation, then zero in the padding: it takes part in attention as zeros.

        Computed in the dtype of the images (float32), returned in that of the trunk's weights.
        """
        like = images.pixels
        mean = like.new_tensor(self.mean).view(1, 3, 1, 1)
        deviation = like.new_tensor(self.deviation).view(1, 3, 1, 1)
        normalised = (like - mean) / deviation
        for index, (height, width) in enumerate(images.valid_sizes):
            normalised[index, :, height:] = 0
            normalised[index, :, :, width:] = 0
        return normalised.to(next(self.visual_trunk.parameters()).dtype)

    def train(self, mode: bool = True) -> "Encoder":
        """Set training mode, except for BatchNorm, which stays in eval mode, always.

        The released code lets the batch statistics of a frozen CLIP ResNet drift while training; a frozen
        encoder must compute in training what it computes in use.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def set_trunk_dtype(self, dtype: torch.dtype) -> None:
        """Compute the features in `dtype`; what names masks and reads words stays as it is."""
        self.visual_trunk.to(dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.logit_scale.device
