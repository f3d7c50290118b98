"""The whole network, and the function that builds it from a configuration."""

from dataclasses import replace
from importlib import import_module

import torch
from torch import nn

from ovrcoat.config import EncoderConfig, ModelConfig, NanoConfig, OpenClipConfig, ResNetConfig
from ovrcoat.errors import ConfigError
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.encoders.open_clip_models import OPEN_CLIP_MODELS
from ovrcoat.model.mask_decoder import MaskDecoder
from ovrcoat.model.naming_network import NamingNetwork
from ovrcoat.model.pixel_decoder import PixelDecoder
from ovrcoat.model.query_selection import QuerySelector
from ovrcoat.model.text_classifier import TextClassifier
from ovrcoat.model.text_transfer import TextTransfer
from ovrcoat.structures import (
    CategoryEmbeddings,
    Encoding,
    ImageBatch,
    MaskPredictions,
    MaskProposals,
)


class SegmentationNetwork(NamingNetwork):
    """FC-CLIP's network, split where the vocabulary enters.

    `forward` depends on the image alone. `classify` compares its output with any vocabulary.

    Attributes:
        large_parts: prefixes of the weights that are large enough to be loaded one after the other.
    """

    large_parts = ("encoder.text_tower", "encoder.visual_trunk", "pixel_decoder", "mask_decoder")

    def __init__(
        self,
        encoder: Encoder,
        pixel_decoder: PixelDecoder,
        *,
        mask_decoder: MaskDecoder,
        text_classifier: TextClassifier,
        text_transfer: TextTransfer | None = None,
    ) -> None:
        super().__init__(encoder)
        self.pixel_decoder = pixel_decoder
        self.mask_decoder = mask_decoder
        self.text_classifier = text_classifier
        self.text_transfer = text_transfer

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Compute masks and features in `dtype`. The text tower and the classifiers keep their dtype."""
        self.encoder.set_trunk_dtype(dtype)
        self.pixel_decoder.to(dtype)
        self.mask_decoder.to(dtype)

    def forward(self, images: ImageBatch, *, keep_clip_features: bool = False) -> Encoding:
        """Propose masks, and embed each of them by the learned head and by CLIP.

        Args:
            images: a batch.
            keep_clip_features: keep CLIP's feature map in the result, to embed further masks later.
        """
        features = self.encoder(images)
        (proposals,) = self.mask_decoder(self.pixel_decoder(features))
        encoding = self.embed(proposals, features.clip_features, mask_logits=proposals.mask_logits)
        return encoding if keep_clip_features else replace(encoding, clip_features=None)

    def propose(self, images: ImageBatch) -> MaskProposals:
        """Propose masks, without CLIP's embeddings of them: for names from another network."""
        (proposals,) = self.mask_decoder(self.pixel_decoder(self.encoder(images)))
        return proposals

    def classify(
        self,
        encoding: Encoding,
        categories: CategoryEmbeddings,
        *,
        in_vocab_classifier: nn.Module | None = None,
    ) -> MaskPredictions:
        """Compute the logits of every mask for every category, by both classifiers.

        Args:
            encoding: of images.
            categories: text embeddings.
            in_vocab_classifier: that of the network that proposed the masks. None: the own one.
        """
        classifier = self.text_classifier if in_vocab_classifier is None else in_vocab_classifier
        return super().classify(encoding, categories, in_vocab_classifier=classifier)


def build_encoder(config: EncoderConfig) -> Encoder:
    """Build an encoder with random weights. Only the libraries of its family are imported.

    Raises:
        ConfigError: there is no such encoder.
    """
    if isinstance(config, OpenClipConfig):
        return _build_open_clip(config)
    image_settings = config.model_dump(exclude={"family", "text"})
    text_settings = config.text.model_dump()
    if isinstance(config, NanoConfig):
        from ovrcoat.model.encoders.nano import NanoEncoder, SentenceTower

        return NanoEncoder(**image_settings, text_tower=SentenceTower(**text_settings))
    from ovrcoat.model.encoders.clip_text import ClipTextTower

    text_tower = ClipTextTower(**text_settings, embedding_dim=config.embedding_dim)
    if isinstance(config, ResNetConfig):
        from ovrcoat.model.encoders.resnet import ResNetEncoder

        return ResNetEncoder(**image_settings, text_tower=text_tower)
    from ovrcoat.model.encoders.convnext import ConvNextEncoder

    return ConvNextEncoder(**image_settings, text_tower=text_tower)


def check_encoder(config: EncoderConfig) -> None:
    """Check that the table `OPEN_CLIP_MODELS` has an encoder that is described by its name.

    Raises:
        ConfigError: it does not, or its embeddings have another dimension.
    """
    if not isinstance(config, OpenClipConfig):
        return
    model = OPEN_CLIP_MODELS.get(config.name)
    if model is None:
        raise ConfigError(
            f"unknown encoder {config.name!r}; expected one of {', '.join(OPEN_CLIP_MODELS)}. "
            "If it is newer than this version, update with: pip install --upgrade ovrcoat"
        )
    if config.embedding_dim != model.embedding_dim:
        raise ConfigError(
            f"embedding_dim of {config.name} is {config.embedding_dim}, expected {model.embedding_dim}"
        )


def _build_open_clip(config: OpenClipConfig) -> Encoder:
    check_encoder(config)
    model = OPEN_CLIP_MODELS[config.name]
    module = import_module(f"ovrcoat.model.encoders.{model.module}")
    return module.build(embedding_dim=model.embedding_dim, **model.settings)


def build_network(config: ModelConfig) -> SegmentationNetwork:
    """Build the network that `config` describes, with random weights.

    Raises:
        ConfigError: there is no such encoder.
    """
    encoder = build_encoder(config.encoder)
    pixel, mask, transfer = config.pixel_decoder, config.mask_decoder, config.text_transfer
    return SegmentationNetwork(
        encoder,
        PixelDecoder(
            encoder.channels,
            channels=pixel.channels,
            mask_channels=pixel.mask_channels,
            layers=pixel.layers,
            heads=pixel.heads,
            points=pixel.points,
            feed_forward=pixel.feed_forward,
        ),
        mask_decoder=MaskDecoder(
            channels=mask.channels,
            mask_channels=pixel.mask_channels,
            queries=mask.queries,
            selector=QuerySelector(mask.channels, count=mask.selected_queries, local_masks=mask.local_masks)
            if mask.selected_queries
            else None,
            layers=mask.layers,
            heads=mask.heads,
            feed_forward=mask.feed_forward,
            embedding_dim=encoder.embedding_dim,
        ),
        text_classifier=TextClassifier(encoder.embedding_dim),
        text_transfer=None
        if transfer is None
        else TextTransfer(encoder.embedding_dim, heads=transfer.heads, arrangement=transfer.arrangement),
    )
