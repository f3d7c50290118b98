"""Settings of a model and of inference, as frozen, strictly validated data.

The published values are the defaults; no value has a second default elsewhere. A config stops at the builder
(`model/network.py`): parts receive plain numbers.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ovrcoat.errors import ConfigError

# The prompts of the published protocol, byte for byte (FC-CLIP's list, Apache-2.0); some end without a stop.
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

Count = Annotated[
    int, Field(ge=1, le=100_000)
]  # the upper end keeps a hostile file from asking for terabytes
Depth = Annotated[int, Field(ge=1, le=256)]  # likewise: building that many layers takes no time
Fraction = Annotated[float, Field(ge=0, le=1)]

Task = Literal["panoptic", "semantic", "instance"]
TASKS: tuple[Task, ...] = ("panoptic", "semantic", "instance")
Number = float | int  # both are listed: the tests' run-time type check does not accept an int as a float
Trust = Number | Literal["adaptive"]  # the CLIP trust factor γ as callers pass it
TrustSetting = Fraction | Literal["adaptive"]  # the same as a field of a pydantic model, checked to be 0..1


class Settings(BaseModel):
    """Base: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def divisible(what: str, number: int, *, by: int) -> None:
    """Raise what pydantic reports if `number` cannot be shared out evenly."""
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
    """An OpenCLIP ConvNeXt: depth and width of its four stages, and the head behind the pooling."""

    family: Literal["convnext"] = "convnext"
    depths: tuple[Depth, Depth, Depth, Depth]
    widths: tuple[Count, Count, Count, Count]
    head_hidden: Count | None = None  # width of the projection's hidden layer; None: a single linear map
    norm_epsilon: float = 1e-6  # timm's convnext_xxlarge has 1e-5
    drop_path: Fraction = 0.1  # stochastic depth while its trunk trains (OpenCLIP's configuration files)
    embedding_dim: Count
    text: ClipTextConfig


class ResNetConfig(Settings):
    """A CLIP ResNet (OpenAI): blocks of the four stages, width of the first, grid of its pooling."""

    family: Literal["resnet"] = "resnet"
    blocks: tuple[Depth, Depth, Depth, Depth]
    width: Count
    heads: Count
    pooling_grid: Count = 7  # side of the attention pooling's position grid: training size / 32
    embedding_dim: Count
    text: ClipTextConfig

    @model_validator(mode="after")
    def _fits(self) -> "ResNetConfig":
        divisible("width of the first stage", self.width, by=2)  # of its stem's first two convolutions
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
    """The embedded encoder: EfficientNet-Lite2 joined to MiniLM."""

    family: Literal["nano"] = "nano"
    embedding_dim: Count = 384
    text: NanoTextConfig = NanoTextConfig()

    @model_validator(mode="after")
    def _fits(self) -> "NanoConfig":
        if self.embedding_dim != self.text.width:
            raise ValueError(
                f"embedding_dim is {self.embedding_dim}, expected {self.text.width}, the text tower's width: "
                "images are mapped into its space as it is"
            )
        return self


EncoderConfig = Annotated[ConvNextConfig | ResNetConfig | NanoConfig, Field(discriminator="family")]


class PixelDecoderConfig(Settings):
    """Multi-scale deformable pixel decoder (Mask2Former's values)."""

    channels: Count = 256
    mask_channels: Count = 256
    layers: Depth = 6
    heads: Count = 8
    points: Count = 4
    feed_forward: Count = 1024  # the released code has 1024 whatever its configuration file says

    @model_validator(mode="after")
    def _fits(self) -> "PixelDecoderConfig":
        divisible("channels of the pixel decoder", self.channels, by=self.heads)
        divisible("channels of the pixel decoder", self.channels, by=32)  # groups of its GroupNorm
        return self


class MaskDecoderConfig(Settings):
    """Masked transformer decoder (FC-CLIP's values)."""

    channels: Count = 256
    queries: Count = 250
    layers: Depth = 9
    heads: Count = 8
    feed_forward: Count = 2048

    @model_validator(mode="after")
    def _fits(self) -> "MaskDecoderConfig":
        divisible("channels of the mask decoder", self.channels, by=self.heads)
        return self


class InferenceConfig(Settings):
    """What happens to predictions at test time (FC-CLIP's and OVRCOAT's released values)."""

    alpha: Fraction = 0.4  # weight of CLIP for seen categories (FC-CLIP's released configuration)
    beta: Fraction = 0.8  # weight of CLIP for unseen categories (same source)
    # COAT's γ (OVRCOAT's released value); 0 is plain FC-CLIP, "adaptive" is ours (inference/stability.py)
    trust: TrustSetting = 0.5
    ensemble_on_valid_mask: bool = False  # True for CLIP ResNets: no CLIP vote for masks lost on its map
    object_mask_threshold: Fraction = 0.0  # both open-vocabulary releases; Mask2Former has 0.8
    overlap_threshold: Annotated[float, Field(ge=0)] = 0.7  # OVRCOAT's release; FC-CLIP has 0.8
    duplicate_iou: Annotated[float, Field(gt=0, le=1)] | None = (
        None  # ours (inference/duplicates.py); None: off
    )
    instances: Count = 100  # (query, category) pairs kept for instance output (Mask2Former)
    short_side: Count = 800  # pixels; the published test size of COCO and ADE20K
    max_long_side: Count = 1333  # pixels


class ModelConfig(Settings):
    """Everything needed to rebuild a network and to use it as it was meant."""

    encoder: EncoderConfig
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig()
    mask_decoder: MaskDecoderConfig = MaskDecoderConfig()
    inference: InferenceConfig = InferenceConfig()
    templates: tuple[str, ...] = PUBLISHED_TEMPLATES

    @model_validator(mode="after")
    def _fits(self) -> "ModelConfig":
        if self.pixel_decoder.channels != self.mask_decoder.channels:
            raise ValueError(
                f"the pixel decoder has {self.pixel_decoder.channels} channels and the mask decoder "
                f"{self.mask_decoder.channels}, expected the same number: one reads what the other writes"
            )
        return self


def adjusted(config: ModelConfig, settings: Mapping[str, object]) -> ModelConfig:
    """The same model with other inference `settings`, validated.

    Raises:
        ConfigError: a setting does not exist or is out of range; names it.
    """
    try:
        inference = InferenceConfig.model_validate(config.inference.model_dump() | dict(settings))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"inference settings cannot be used: {problems}. "
            f"There are: {', '.join(InferenceConfig.model_fields)}"
        ) from error
    return config.model_copy(update={"inference": inference})
