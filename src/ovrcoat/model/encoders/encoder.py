"""The contract of an image-text encoder: CLIP, or a model that is used like CLIP.

An encoder has an image tower and a text tower that embed into one space. Everything that differs between
families is behind this contract: normalization, strides, pooling under a mask, tokenizer, similarity.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.model.similarity import cosine_logits, max_over_names
from ovrcoat.structures import CategoryEmbeddings, EncoderFeatures, ImageBatch, MaskEmbeddings

# CLIP's mean and standard deviation in 0..255, as in the published configuration files.
CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
CLIP_DEVIATION = (68.5005327, 66.6321579, 70.32316305)


class Encoder(nn.Module, ABC):
    """Base class of all encoders.

    A subclass sets the attributes without a default in its constructor.

    Attributes:
        visual_trunk: the image tower. Its weights alone may have another dtype (`set_trunk_dtype`).
        mask_embedding_parts: names of modules and parameters of the trunk that embed masks and keep their
            dtype.
        text_tower: the module that embeds texts; no other weight influences text embeddings.
        channels: of the feature maps at strides 4, 8, 16 and 32.
        embedding_dim: dimension of the common space.
        logit_scale: logarithm of the scale of the cosine similarity (CLIP's inverse temperature).
        max_logit_scale: upper limit of exp(logit_scale).
        stride: of the coarsest feature map. The sides of an image batch are multiples of it.
        crop_side: side of a square image that suits the encoder, in pixels (`segmentation/mask_crops.py`).
        fits_published_sizes: whether the encoder suits the test resolutions of the published evaluation
            protocol. False for an encoder that was trained on small images.
        mean: subtracted from RGB values in 0..255.
        deviation: by which RGB values are then divided.
    """

    visual_trunk: Any
    mask_embedding_parts: tuple[str, ...] = ()
    text_tower: Any
    channels: tuple[int, int, int, int]
    embedding_dim: int
    logit_scale: nn.Parameter
    max_logit_scale: float = 100.0  # CLIP's
    stride: int = 32
    crop_side: int = 224  # CLIP's usual training size
    fits_published_sizes: bool = True
    mean: tuple[float, float, float] = CLIP_MEAN
    deviation: tuple[float, float, float] = CLIP_DEVIATION

    def forward(self, images: ImageBatch) -> EncoderFeatures:
        """Normalize images and compute their features."""
        return self.encode(self.normalize(images))

    @abstractmethod
    def encode(self, pixels: Float[Tensor, "batch 3 height width"]) -> EncoderFeatures:
        """Compute the features of normalized images. Takes tensors only, so that it can be compiled."""

    @abstractmethod
    def embed_masks(
        self,
        clip_features: Float[Tensor, "batch _ _ _"],
        mask_logits: Float[Tensor, "batch query height width"],
    ) -> MaskEmbeddings:
        """Embed the image region under each mask (where its logit is positive).

        The embeddings are not normalized. No gradient flows into the masks.
        """

    def embed_features(self, features: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape embedding"]:
        """Embed feature vectors by the head that follows CLIP's pooling, not normalized.

        Only for encoders whose head works on single vectors; MAFT+'s transfer needs it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no head for single feature vectors")

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text embedding"]:
        """Embed sentences by the text tower, not normalized. Memory stays bounded for any number of texts."""
        return self.text_tower.embed(texts)

    def text_length(self, text: str) -> tuple[int, int]:
        """Return the number of tokens of `text` and the largest number that the text tower takes.

        Both without the start and end tokens.
        """
        return self.text_tower.text_length(text)

    def unknown_text(self, text: str) -> bool:
        """Return whether the text tower cannot represent a part of `text`, for example another script.

        By default False, which is right for tokenizers that fall back to bytes, such as CLIP's.
        """
        return False

    def classify(
        self, embeddings: Float[Tensor, "*shape embedding"], categories: CategoryEmbeddings
    ) -> Float[Tensor, "*shape category"]:
        """Return the category logits of mask embeddings: the out-of-vocabulary classifier.

        The ensemble uses their softmax over the categories, so a bias common to all categories has no effect
        there. An encoder whose similarity has a bias or another form overrides this method.
        """
        name_logits = cosine_logits(
            embeddings,
            categories.out_vocab,
            logit_scale=self.logit_scale,
            max_scale=self.max_logit_scale,
        )
        return max_over_names(name_logits, categories)

    def confidence(self, category_logits: Float[Tensor, "*shape category"]) -> Float[Tensor, "*shape"] | None:
        """Return the confidence in each mask's best category, 0..1, by which COAT adjusts objectness.

        By default None: the largest softmax probability, as in the paper. An encoder that was not trained
        with a softmax over texts overrides this method.
        """
        return None

    def checkpointed_blocks(self) -> Iterable[nn.Module]:
        """Return the blocks whose activations training may recompute in the backward pass to save memory.

        Small blocks save the most: all activations of one block are in memory at once. By default none.
        """
        return ()

    def normalize(self, images: ImageBatch) -> Float[Tensor, "batch 3 height width"]:
        """Subtract the mean, divide by the deviation, then set the padding to zero.

        Padding takes part in attention, with zeros as in the released code. The computation takes place in
        the dtype of the images (float32); the result has the dtype of the trunk's weights.
        """
        pixels = normalized(images, mean=self.mean, deviation=self.deviation)
        return pixels.to(next(self.visual_trunk.parameters()).dtype)

    def train(self, mode: bool = True) -> "Encoder":
        """Set training mode for everything except BatchNorm, which always stays in eval mode.

        In the released code, the batch statistics of a frozen CLIP ResNet drift during training. Here a
        frozen encoder computes the same features in training and in inference.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def set_trunk_dtype(self, dtype: torch.dtype) -> None:
        """Compute feature maps in `dtype`. Mask embedding and the text tower keep their dtype."""
        kept = {name: getattr(self.visual_trunk, name) for name in self.mask_embedding_parts}
        for name in kept:
            setattr(self.visual_trunk, name, None)
        self.visual_trunk.to(dtype)
        for name, part in kept.items():
            setattr(self.visual_trunk, name, part)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.logit_scale.device


def normalized(
    images: ImageBatch, *, mean: tuple[float, float, float], deviation: tuple[float, float, float]
) -> Float[Tensor, "batch 3 height width"]:
    """Subtract the mean, divide by the deviation, then set the padding to zero.

    Args:
        images: a batch.
        mean: of RGB values in 0..255.
        deviation: of RGB values in 0..255.
    """
    like = images.pixels
    pixels = (like - like.new_tensor(mean).view(1, 3, 1, 1)) / like.new_tensor(deviation).view(1, 3, 1, 1)
    for index, (height, width) in enumerate(images.valid_sizes):
        pixels[index, :, height:] = 0
        pixels[index, :, :, width:] = 0
    return pixels
