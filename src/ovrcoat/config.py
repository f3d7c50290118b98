"""Settings of a model and of inference, as immutable, strictly validated data.

The published values are the defaults, and no setting has a second default elsewhere. Only the builders
(`model/network.py`, `model/mask2former.py`) take these classes; the parts of a network take plain numbers.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)

from ovrcoat.choices import Arrangement, ClassifyBy
from ovrcoat.errors import ConfigError

# The prompt templates of the published protocol, unchanged (FC-CLIP's list, Apache-2.0). Some have no full
# stop.
PUBLISHED_TEMPLATES: tuple[str, ...] = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)


def _with_one_name(template: str) -> str:
    if template.count("{}") != 1:
        raise ValueError(f"the template {template[:60]!r} must contain '{{}}' once, in place of the name")
    return template


# The upper limits prevent a malicious file from requesting terabytes of memory or endless layers.
Count = Annotated[int, Field(ge=1, le=100_000)]
Depth = Annotated[int, Field(ge=1, le=256)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Template = Annotated[str, Field(max_length=500), AfterValidator(_with_one_name)]

TrustSetting = Fraction | Literal["adaptive"]  # `Trust` as a field of a pydantic model, checked to be 0..1


class Settings(BaseModel):
    """Base class of all settings: immutable; unknown keys are errors.

    Attributes:
        added_later: fields that are stored only if they differ from their default. Files without them remain
            readable by earlier versions, and fingerprints of settings stay the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    added_later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _stored(self, serialize: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in serialize(self).items()
            if name not in self.added_later or getattr(self, name) != fields[name].default
        }


def divisible(what: str, number: int, *, by: int) -> None:
    """Raise an error, which pydantic reports, if `number` is not a multiple of `by`."""
    if number % by:
        raise ValueError(f"{what} is {number}, expected a multiple of {by}")


class ClipTextConfig(Settings):
    """CLIP's text tower."""

    width: Count
    heads: Count
    layers: Depth
    context_length: Count = 77
    vocabulary_size: Count = 49_408
    activation: Literal["gelu", "quick_gelu"] = "gelu"  # OpenAI's weights need quick_gelu

    @model_validator(mode="after")
    def _fits(self) -> "ClipTextConfig":
        divisible("width of the text tower", self.width, by=self.heads)
        return self


class ConvNextConfig(Settings):
    """OpenCLIP's ConvNeXt: depths and widths of its four stages, and the head after the pooling."""

    family: Literal["convnext"] = "convnext"
    depths: tuple[Depth, Depth, Depth, Depth]
    widths: tuple[Count, Count, Count, Count]
    head_hidden: Count | None = None  # width of the projection's hidden layer; None: a single linear layer
    norm_epsilon: float = 1e-6  # timm's convnext_xxlarge has 1e-5
    drop_path: Fraction = 0.1  # stochastic depth in training (OpenCLIP's configuration files)
    embedding_dim: Count
    text: ClipTextConfig


class ResNetConfig(Settings):
    """OpenAI's CLIP ResNet: blocks of its four stages, width of the first, grid of the attention pooling."""

    family: Literal["resnet"] = "resnet"
    blocks: tuple[Depth, Depth, Depth, Depth]
    width: Count
    heads: Count
    pooling_grid: Count = 7  # side of the pooling's position grid: training size / 32
    embedding_dim: Count
    text: ClipTextConfig

    @model_validator(mode="after")
    def _fits(self) -> "ResNetConfig":
        divisible("width of the first stage", self.width, by=2)  # of the first two convolutions of its stem
        divisible("width of the attention pooling", 32 * self.width, by=self.heads)
        return self


class NanoTextConfig(Settings):
    """nano's text tower: a BERT-like sentence encoder (MiniLM)."""

    width: Count = 384
    heads: Count = 12
    layers: Depth = 6
    feed_forward: Count = 1536
    positions: Count = 64
    vocabulary_size: Count = 30_522

    @model_validator(mode="after")
    def _fits(self) -> "NanoTextConfig":
        divisible("width of the text tower", self.width, by=self.heads)
        return self


class NanoConfig(Settings):
    """The embedded encoder: EfficientNet-Lite2 aligned with MiniLM."""

    family: Literal["nano"] = "nano"
    embedding_dim: Count = 384
    text: NanoTextConfig = NanoTextConfig()

    @model_validator(mode="after")
    def _fits(self) -> "NanoConfig":
        if self.embedding_dim != self.text.width:
            raise ValueError(
                f"embedding_dim is {self.embedding_dim}, expected {self.text.width}, the width of the text "
                "tower, because images are projected into its space"
            )
        return self


class OpenClipConfig(Settings):
    """An encoder of OpenCLIP, described by its name in a table (`model/encoders/open_clip_models.py`)."""

    family: Literal["open_clip"] = "open_clip"
    name: Annotated[str, Field(max_length=100)]
    embedding_dim: Count


EncoderConfig = Annotated[
    ConvNextConfig | ResNetConfig | NanoConfig | OpenClipConfig, Field(discriminator="family")
]


class PixelDecoderConfig(Settings):
    """Multi-scale deformable pixel decoder (Mask2Former's values)."""

    channels: Count = 256
    mask_channels: Count = 256
    layers: Depth = 6
    heads: Count = 8
    points: Count = 4
    feed_forward: Count = 1024  # 1024 in the released code, regardless of its configuration

    @model_validator(mode="after")
    def _fits(self) -> "PixelDecoderConfig":
        divisible("channels of the pixel decoder", self.channels, by=self.heads)
        divisible("channels of the pixel decoder", self.channels, by=32)  # groups of its GroupNorm
        return self


class MaskDecoderConfig(Settings):
    """Masked transformer decoder (FC-CLIP's values).

    Attributes:
        channels: of queries and features.
        queries: learned queries.
        layers: number of layers.
        heads: of the attention.
        feed_forward: hidden channels of the feed-forward layers.
        selected_queries: further queries, which start at the centers of objects
            (`model/query_selection.py`). The published models have none.
        local_masks: whether the masks of selected queries are limited to an extent around their center, which
            they predict (`model/mask_extent.py`).
    """

    added_later = frozenset({"selected_queries", "local_masks"})

    channels: Count = 256
    queries: Annotated[int, Field(ge=1, le=2_000)] = 250
    layers: Depth = 9
    heads: Count = 8
    feed_forward: Count = 2048
    selected_queries: Annotated[int, Field(ge=0, le=2_000)] = 0
    local_masks: bool = False

    @model_validator(mode="after")
    def _fits(self) -> "MaskDecoderConfig":
        divisible("channels of the mask decoder", self.channels, by=self.heads)
        if self.local_masks and not self.selected_queries:
            raise ValueError("local_masks is for selected queries, but selected_queries is 0")
        return self


class TextTransferConfig(Settings):
    """MAFT+'s content-dependent transfer of the text embeddings (`model/text_transfer.py`).

    Attributes:
        heads: of its attention (the released value).
        arrangement: place of the normalization; the weights of both forms have the same names and shapes.
    """

    heads: Count = 8
    arrangement: Arrangement = "panoptic"


class InferenceConfig(Settings):
    """Settings of inference. Defaults are the released values of FC-CLIP and OVRCOAT.

    Attributes:
        alpha: CLIP's weight in the ensemble for seen categories, 0..1 (FC-CLIP's released configuration).
            With `alpha` and `beta` 1, CLIP alone decides the category (MAFT+).
        beta: CLIP's weight for unseen categories, 0..1 (same source).
        trust: COAT's γ, 0..1 (OVRCOAT's released value). 0 is plain FC-CLIP. "adaptive" is ours and uses the
            stability of each mask (`postprocessing/stability.py`).
        ensemble_on_valid_mask: whether masks that vanish on CLIP's feature map are classified by the learned
            classifier alone. True for CLIP ResNets.
        object_mask_threshold: minimum score of a mask, 0..1 (both open-vocabulary releases; Mask2Former has
            0.8).
        overlap_threshold: minimum ratio of a mask's argmax area to its original area, 0 or more (OVRCOAT's
            release; FC-CLIP has 0.8).
        duplicate_iou: IoU above which a mask is removed as a duplicate of a better one, 0..1. Ours
            (`postprocessing/duplicates.py`). None: off.
        weight_by_stability: whether the score of a mask is multiplied by its stability
            (`postprocessing/stability.py`) where masks compete: for pixels, and as duplicates. Ours.
        min_component_share: smallest disconnected part of a segment that is kept, as a share of the image.
            Ours (`postprocessing/specks.py`). 0: all parts are kept.
        semantic_at_input_size: whether semantic output sums the masks at the size of the network's input and
            resizes the sums (released code without panoptic output), instead of resizing the masks.
        classify_by: what CLIP embeds of each mask: "pooling" its features under the mask (FC-CLIP), "crops"
            the bbox of the mask as an image of its own, "masked-crops" the same without its background. Crops
            need one pass of the encoder per mask.
        instances: number of (query, category) pairs in instance output (Mask2Former).
        short_side: test resolution in pixels; the default is the published one of COCO and ADE20K.
        max_long_side: in pixels; takes precedence over `short_side`.
    """

    added_later = frozenset({"semantic_at_input_size", "classify_by", "weight_by_stability"})

    alpha: Fraction = 0.4
    beta: Fraction = 0.8
    trust: TrustSetting = 0.5
    ensemble_on_valid_mask: bool = False
    object_mask_threshold: Fraction = 0.0
    overlap_threshold: Annotated[float, Field(ge=0)] = 0.7
    duplicate_iou: Annotated[float, Field(gt=0, le=1)] | None = None
    weight_by_stability: bool = False
    min_component_share: Fraction = 0.0
    semantic_at_input_size: bool = False
    classify_by: ClassifyBy = "pooling"
    instances: Count = 100
    short_side: Count = 800
    max_long_side: Count = 1333


class ModelConfig(Settings):
    """Everything needed to build a network and to use it as intended.

    Attributes:
        encoder: the encoder; its `family` decides which one.
        pixel_decoder: the pixel decoder.
        mask_decoder: the mask decoder.
        text_transfer: MAFT+'s transfer of the text embeddings. None: the family has none (FC-CLIP, OVRCOAT).
        inference: settings of inference.
        templates: prompt templates with "{}" in place of the class name.
    """

    added_later = frozenset({"text_transfer"})

    encoder: EncoderConfig
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig()
    mask_decoder: MaskDecoderConfig = MaskDecoderConfig()
    text_transfer: TextTransferConfig | None = None
    inference: InferenceConfig = InferenceConfig()
    templates: Annotated[tuple[Template, ...], Field(min_length=1, max_length=200)] = PUBLISHED_TEMPLATES

    @model_validator(mode="after")
    def _fits(self) -> "ModelConfig":
        if self.pixel_decoder.channels != self.mask_decoder.channels:
            raise ValueError(
                f"the pixel decoder has {self.pixel_decoder.channels} channels and the mask decoder "
                f"{self.mask_decoder.channels}, expected the same number: the mask decoder uses the output "
                "of the pixel decoder"
            )
        if self.text_transfer is not None:
            if not isinstance(self.encoder, ConvNextConfig):
                raise ValueError(
                    f"text_transfer needs a ConvNeXt encoder, but the family is {self.encoder.family!r}: it "
                    "uses the head of a ConvNeXt"
                )
            divisible("embedding_dim", self.encoder.embedding_dim, by=self.text_transfer.heads)
            divisible("embedding_dim", self.encoder.embedding_dim, by=4)  # sine and cosine of two axes
        return self


class SwinConfig(Settings):
    """Swin transformer of a Mask2Former."""

    family: Literal["swin"] = "swin"
    width: Count
    depths: tuple[Depth, Depth, Depth, Depth]
    heads: tuple[Count, Count, Count, Count]
    window: Annotated[int, Field(ge=1, le=64)]
    mlp_ratio: Annotated[float, Field(gt=0, le=64)] = 4.0

    @model_validator(mode="after")
    def _fits(self) -> "SwinConfig":
        for stage, heads in enumerate(self.heads):
            divisible(f"width of stage {stage + 1} of the Swin transformer", self.width * 2**stage, by=heads)
        return self


class ResNetBackboneConfig(Settings):
    """ResNet of a Mask2Former, with bottleneck blocks."""

    family: Literal["resnet"] = "resnet"
    depths: tuple[Depth, Depth, Depth, Depth]


class Mask2FormerConfig(Settings):
    """A closed-vocabulary Mask2Former, used as a source of masks.

    Attributes:
        classes: number of its classes, void not counted.
        backbone: the backbone; its `family` decides which one.
        pixel_decoder: the pixel decoder.
        mask_decoder: the mask decoder.
    """

    classes: Count
    backbone: Annotated[SwinConfig | ResNetBackboneConfig, Field(discriminator="family")]
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig()
    mask_decoder: MaskDecoderConfig = MaskDecoderConfig(queries=100)


def with_inference_settings(config: ModelConfig, settings: Mapping[str, object]) -> ModelConfig:
    """Return a configuration with some settings of inference replaced.

    Args:
        config: the configuration.
        settings: fields of `InferenceConfig` and their values.

    Raises:
        ConfigError: a setting does not exist or is out of range; the message names it.
    """
    try:
        inference = InferenceConfig.model_validate(config.inference.model_dump() | dict(settings))
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"inference settings cannot be used: {reasons}. "
            f"Valid settings: {', '.join(InferenceConfig.model_fields)}"
        ) from error
    return config.model_copy(update={"inference": inference})
