"""The whole network: four parts in order, and the builder that chooses them by name."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.config import EncoderConfig, ModelConfig, NanoConfig, ResNetConfig
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.mask_decoder import MaskDecoder
from ovrcoat.model.pixel_decoder import PixelDecoder
from ovrcoat.model.text_classifier import NORM_FLOOR, TextClassifier, category_logits
from ovrcoat.structures import CategoryEmbeddings, Encoding, ImageBatch, MaskPredictions


class SegmentationNetwork(nn.Module):
    """FC-CLIP's network, cut where the words enter: `forward` sees pixels only, `classify` adds the words."""

    compiled = False  # set by `compiling.compile_image_path`

    def __init__(
        self,
        encoder: Encoder,
        pixel_decoder: PixelDecoder,
        *,
        mask_decoder: MaskDecoder,
        text_classifier: TextClassifier,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pixel_decoder = pixel_decoder
        self.mask_decoder = mask_decoder
        self.text_classifier = text_classifier

    @property
    def image_dtype(self) -> torch.dtype:
        """What masks and features are computed in."""
        return next(self.pixel_decoder.parameters()).dtype

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Compute masks and features in `dtype`; words and what compares masks with them stay as they are."""
        self.encoder.set_trunk_dtype(dtype)
        self.pixel_decoder.to(dtype)
        self.mask_decoder.to(dtype)

    def forward(self, images: ImageBatch) -> Encoding:
        """Propose masks and embed each twice: by the learned head and by CLIP."""
        features = self.encoder(images)
        pixels = self.pixel_decoder(features)
        (proposals,) = self.mask_decoder(pixels)
        return Encoding(proposals=proposals, clip=self.encoder.embed_masks(features, proposals.mask_logits))

    def classify(self, encoding: Encoding, categories: CategoryEmbeddings) -> MaskPredictions:
        """Compare every mask with every category, by both classifiers."""
        in_vocab_logits, void_logits = self.text_classifier(encoding.proposals.embeddings, categories)
        out_vocab_logits = category_logits(
            encoding.clip.embeddings, categories, logit_scale=self.encoder.logit_scale
        )
        return MaskPredictions(
            mask_logits=encoding.proposals.mask_logits,
            in_vocab_logits=in_vocab_logits,
            void_logits=void_logits,
            out_vocab_logits=out_vocab_logits,
            valid_mask=encoding.clip.valid_mask,
        )

    def embed_names(self, names: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "row embedding"]:
        """One unit row per name: the mean over `templates` (with "{}") of the normalised text features."""
        texts = [template.replace("{}", name) for name in names for template in templates]
        features = F.normalize(self.encoder.embed_texts(texts), dim=-1, eps=NORM_FLOOR)
        means = torch.unflatten(features, 0, (len(names), len(templates))).mean(dim=1)
        return F.normalize(means, dim=-1, eps=NORM_FLOOR)


def build_encoder(config: EncoderConfig) -> Encoder:
    """An encoder with random weights; only the chosen family's libraries are imported."""
    numbers = config.model_dump(exclude={"family", "text"})
    words = config.text.model_dump()
    if isinstance(config, NanoConfig):
        from ovrcoat.model.encoders.nano import NanoEncoder, SentenceTower

        return NanoEncoder(**numbers, text_tower=SentenceTower(**words))
    from ovrcoat.model.encoders.clip_text import ClipTextTower

    text_tower = ClipTextTower(**words, embedding_dim=config.embedding_dim)
    if isinstance(config, ResNetConfig):
        from ovrcoat.model.encoders.resnet import ResNetEncoder

        return ResNetEncoder(**numbers, text_tower=text_tower)
    from ovrcoat.model.encoders.convnext import ConvNextEncoder

    return ConvNextEncoder(**numbers, text_tower=text_tower)


def build_network(config: ModelConfig) -> SegmentationNetwork:
    """A network with random weights, as `config` describes it."""
    encoder = build_encoder(config.encoder)
    pixel, mask = config.pixel_decoder, config.mask_decoder
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
    )
