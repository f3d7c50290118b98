"""Mask2Former with a closed vocabulary: a source of masks, with the backbone of its own.

The pixel decoder and the mask decoder are those of FC-CLIP, which was built on Mask2Former. Only the category
head differs: it returns one logit per class and one for void.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ovrcoat.config import Mask2FormerConfig, SwinConfig
from ovrcoat.model.backbones import ResNetBackbone, SwinBackbone
from ovrcoat.model.closed_vocabulary import ClosedClassifier
from ovrcoat.model.encoders.encoder import normalized
from ovrcoat.model.mask_decoder import MaskDecoder
from ovrcoat.model.pixel_decoder import PixelDecoder
from ovrcoat.structures import EncoderFeatures, ImageBatch, MaskProposals, PixelFeatures

# ImageNet's mean and standard deviation in 0..255 (Mask2Former's configuration files).
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)


class ClosedMaskDecoder(MaskDecoder):
    """Mask decoder whose category head reads the query alone, without pooled features."""

    def __init__(self, *, classes: int, channels: int, **settings: Any) -> None:
        super().__init__(channels=channels, embedding_dim=classes + 1, **settings)
        self.pooled_projection = nn.Identity()  # unused
        self.embedding_head = nn.Linear(channels, classes + 1)

    def embed(
        self,
        normed: Float[Tensor, "batch query channel"],
        mask_logits: Float[Tensor, "batch query height width"],
        pixels: PixelFeatures,
    ) -> Float[Tensor, "batch query embedding"]:
        """Return the logits of all classes, then that of void."""
        return self.embedding_head(normed)


class Mask2Former(nn.Module):
    """Proposes masks. The `embeddings` of its proposals are the logits of its classes, then that of void.

    Attributes:
        text_classifier: turns these logits into those of any vocabulary.
        stride: the sides of an image batch are multiples of it.
        fits_published_sizes: see `Encoder`.
    """

    stride = 32
    fits_published_sizes = True

    def __init__(
        self,
        backbone: SwinBackbone | ResNetBackbone,
        pixel_decoder: PixelDecoder,
        *,
        mask_decoder: ClosedMaskDecoder,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.mask_decoder = mask_decoder
        self.text_classifier = ClosedClassifier()

    @property
    def image_dtype(self) -> torch.dtype:
        """Dtype of masks and features."""
        return next(self.pixel_decoder.parameters()).dtype

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Compute masks and features in `dtype`."""
        self.to(dtype)

    def propose(self, images: ImageBatch) -> MaskProposals:
        """Propose masks for a batch."""
        pixels = normalized(images, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
        stride4, stride8, stride16, stride32 = self.backbone(pixels.to(self.image_dtype))
        levels = (stride4, stride8, stride16, stride32)
        features = EncoderFeatures(levels=levels, clip_features=stride32)
        (proposals,) = self.mask_decoder(self.pixel_decoder(features))
        return proposals


def build_mask2former(config: Mask2FormerConfig) -> Mask2Former:
    """Build the network that `config` describes, with random weights."""
    settings = config.backbone.model_dump(exclude={"family"})
    is_swin = isinstance(config.backbone, SwinConfig)
    backbone = SwinBackbone(**settings) if is_swin else ResNetBackbone(**settings)
    pixel = config.pixel_decoder
    return Mask2Former(
        backbone,
        PixelDecoder(backbone.channels, **pixel.model_dump()),
        mask_decoder=ClosedMaskDecoder(
            classes=config.classes, mask_channels=pixel.mask_channels, **config.mask_decoder.model_dump()
        ),
    )
