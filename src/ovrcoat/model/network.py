"""The whole network, and the function that builds it from a configuration."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.config import EncoderConfig, ModelConfig, NanoConfig, OpenClipConfig, ResNetConfig
from ovrcoat.errors import ConfigError
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.encoders.open_clip_models import OPEN_CLIP_MODELS
from ovrcoat.model.mask_decoder import MaskDecoder
from ovrcoat.model.pixel_decoder import PixelDecoder
from ovrcoat.model.similarity import NORM_FLOOR
from ovrcoat.model.text_classifier import TextClassifier
from ovrcoat.model.text_transfer import TextTransfer, transfer_tokens
from ovrcoat.structures import (
    CategoryEmbeddings,
    Encoding,
    ImageBatch,
    MaskPredictions,
    MaskProposals,
)


class SegmentationNetwork(nn.Module):
    """FC-CLIP's network, split where the vocabulary enters.

    `forward` depends on the image alone. `classify` compares its output with any vocabulary.

    Attributes:
        text_transfer: MAFT+'s transfer of the text embeddings; None for FC-CLIP and OVRCOAT.
        compiled: whether `compiling.compile_image_branch` compiled the image branch.
        large_parts: prefixes of the weights that are large enough to be loaded one after the other.
    """

    compiled = False
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
        super().__init__()
        self.encoder = encoder
        self.pixel_decoder = pixel_decoder
        self.mask_decoder = mask_decoder
        self.text_classifier = text_classifier
        self.text_transfer = text_transfer

    @property
    def stride(self) -> int:
        """The sides of an image batch are multiples of it."""
        return self.encoder.stride

    @property
    def fits_published_sizes(self) -> bool:
        """Whether the network suits the published test resolutions; see `Encoder`."""
        return self.encoder.fits_published_sizes

    @property
    def image_dtype(self) -> torch.dtype:
        """Dtype of masks and features."""
        return next(self.pixel_decoder.parameters()).dtype

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

    def embed(
        self,
        proposals: MaskProposals,
        clip_features: Float[Tensor, "batch _ _ _"],
        *,
        mask_logits: Float[Tensor, "batch query _ _"],
    ) -> Encoding:
        """Embed masks by CLIP.

        Args:
            proposals: masks, of this network or another one.
            clip_features: CLIP's feature map; it is kept in the result.
            mask_logits: the masks as seen by this network: at stride 4 of its input.
        """
        return Encoding(
            proposals=proposals,
            clip=self.encoder.embed_masks(clip_features, mask_logits),
            clip_features=clip_features,
            transfer_features=self.transfer_features(clip_features),
        )

    def propose(self, images: ImageBatch) -> MaskProposals:
        """Propose masks, without CLIP's embeddings of them: for names from another network."""
        (proposals,) = self.mask_decoder(self.pixel_decoder(self.encoder(images)))
        return proposals

    def transfer_features(
        self, clip_features: Float[Tensor, "batch _ _ _"]
    ) -> Float[Tensor, "batch embedding _ _"] | None:
        """Return what the text transfer reads from each image; None without a transfer."""
        if self.text_transfer is None:
            return None
        tokens = self.encoder.embed_features(transfer_tokens(clip_features))
        return torch.unflatten(tokens.mT, 2, clip_features.shape[-2:])

    def adapt(self, encoding: Encoding, categories: CategoryEmbeddings) -> CategoryEmbeddings:
        """Return the text embeddings with which CLIP classifies the masks of these images.

        They depend on the images only if the network has a text transfer. It costs little compared to the
        encoder.
        """
        if self.text_transfer is None:
            return categories
        assert encoding.transfer_features is not None  # `forward` computes them
        return replace(
            categories, out_vocab=self.text_transfer(categories.out_vocab, encoding.transfer_features)
        )

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
        out_vocab_logits = self.encoder.classify(encoding.clip.embeddings, self.adapt(encoding, categories))
        if encoding.objectness is None:
            classifier = self.text_classifier if in_vocab_classifier is None else in_vocab_classifier
            in_vocab_logits, void_logits = classifier(encoding.proposals.embeddings, categories)
        else:
            # No classifier knows these masks. With CLIP in its place, the ensemble is CLIP alone.
            in_vocab_logits = out_vocab_logits
            void_logits = out_vocab_logits.logsumexp(-1) - encoding.objectness.logit()
        return MaskPredictions(
            mask_logits=encoding.proposals.mask_logits,
            in_vocab_logits=in_vocab_logits,
            void_logits=void_logits,
            out_vocab_logits=out_vocab_logits,
            valid_mask=encoding.clip.valid_mask,
            clip_confidence=self.encoder.confidence(out_vocab_logits),
        )

    def embed_names(self, names: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "name embedding"]:
        """Return one unit vector per name: the mean over templates of the normalized text embeddings.

        Args:
            names: class names.
            templates: sentences with "{}" in place of the name.
        """
        texts = [template.replace("{}", name) for name in names for template in templates]
        features = F.normalize(self.encoder.embed_texts(texts), dim=-1, eps=NORM_FLOOR)
        means = torch.unflatten(features, 0, (len(names), len(templates))).mean(dim=1)
        return F.normalize(means, dim=-1, eps=NORM_FLOOR)


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
