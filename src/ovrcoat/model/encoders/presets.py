"""CLIP models by name, as data: OpenCLIP's configuration files and OpenAI's ResNets.

As in every CLIP model, both towers have width / 64 attention heads.
"""

from dataclasses import dataclass

from ovrcoat.config import ClipTextConfig, ConvNextConfig, EncoderConfig, OpenClipConfig, ResNetConfig
from ovrcoat.model.encoders.open_clip_models import OPEN_CLIP_MODELS

Stages = tuple[int, int, int, int]

TINY: tuple[Stages, Stages] = (3, 3, 9, 3), (96, 192, 384, 768)
SMALL: tuple[Stages, Stages] = (3, 3, 27, 3), (96, 192, 384, 768)
BASE: tuple[Stages, Stages] = (3, 3, 27, 3), (128, 256, 512, 1024)  # depths and widths of the stages (timm)
LARGE: tuple[Stages, Stages] = (3, 3, 27, 3), (192, 384, 768, 1536)
XXLARGE: tuple[Stages, Stages] = (3, 4, 30, 3), (384, 768, 1536, 3072)


def _convnext(
    trunk: tuple[Stages, Stages],
    *,
    embedding_dim: int,
    text_width: int | None = None,
    text_layers: int = 12,
    head_hidden: int | None = None,
    norm_epsilon: float = 1e-6,
) -> ConvNextConfig:
    """Return a configuration. By default, the text tower is as wide as the common space."""
    depths, widths = trunk
    width = text_width or embedding_dim
    return ConvNextConfig(
        depths=depths,
        widths=widths,
        head_hidden=head_hidden,
        norm_epsilon=norm_epsilon,
        embedding_dim=embedding_dim,
        text=ClipTextConfig(width=width, heads=width // 64, layers=text_layers),
    )


def _resnet(blocks: Stages, *, width: int, grid: int, embedding_dim: int, text_width: int) -> ResNetConfig:
    """Return a configuration; `grid` is OpenAI's training size / 32. OpenAI trained with the quick GELU."""
    return ResNetConfig(
        blocks=blocks,
        width=width,
        heads=width // 2,  # the pooling has 32 × width channels
        pooling_grid=grid,
        embedding_dim=embedding_dim,
        text=ClipTextConfig(width=text_width, heads=text_width // 64, layers=12, activation="quick_gelu"),
    )


# If several match a file of weights, the first one is used: the published model comes first. OpenCLIP's
# convnext_xlarge, for which it has no weights, is left out: its widths and its dimension are those of RN50.
CLIP_ENCODERS: dict[str, ConvNextConfig | ResNetConfig] = {
    "convnext_large_d_320": _convnext(LARGE, embedding_dim=768, text_layers=16, head_hidden=1536),
    "convnext_large_d": _convnext(LARGE, embedding_dim=768, text_layers=16, head_hidden=1536),
    "convnext_large": _convnext(LARGE, embedding_dim=768),
    "convnext_base": _convnext(BASE, embedding_dim=512),
    "convnext_base_w": _convnext(BASE, embedding_dim=640),
    "convnext_base_w_320": _convnext(BASE, embedding_dim=640),
    "convnext_tiny": _convnext(TINY, embedding_dim=1024, text_width=512),
    "convnext_small": _convnext(SMALL, embedding_dim=512),
    # timm gives convnext_xxlarge a larger epsilon than the others
    "convnext_xxlarge": _convnext(XXLARGE, embedding_dim=1024, text_layers=24, norm_epsilon=1e-5),
    "RN50": _resnet((3, 4, 6, 3), width=64, grid=7, embedding_dim=1024, text_width=512),
    "RN101": _resnet((3, 4, 23, 3), width=64, grid=7, embedding_dim=512, text_width=512),
    "RN50x4": _resnet((4, 6, 10, 6), width=80, grid=9, embedding_dim=640, text_width=640),
    "RN50x16": _resnet((6, 8, 18, 8), width=96, grid=12, embedding_dim=768, text_width=768),
    "RN50x64": _resnet((3, 15, 36, 10), width=128, grid=14, embedding_dim=1024, text_width=1024),
}

# OpenCLIP's tag of the weights to download. OpenCLIP has no weights for the other ConvNeXts.
PRETRAINED_TAGS: dict[str, str] = {
    "convnext_large_d_320": "laion2b_s29b_b131k_ft_soup",
    "convnext_large_d": "laion2b_s26b_b102k_augreg",
    "convnext_base": "laion400m_s13b_b51k",
    "convnext_base_w": "laion2b_s13b_b82k_augreg",
    "convnext_base_w_320": "laion_aesthetic_s13b_b82k_augreg",
    "convnext_xxlarge": "laion2b_s34b_b82k_augreg_soup",
    "RN50": "openai",
    "RN101": "openai",
    "RN50x4": "openai",
    "RN50x16": "openai",
    "RN50x64": "openai",
}

CLIP_LICENSE = "MIT"  # of the weights of LAION and OpenAI above


@dataclass(frozen=True, slots=True)
class EncoderPreset:
    """An encoder that training can start from, by its OpenCLIP name (`start.clip`).

    Attributes:
        config: its configuration.
        tag: OpenCLIP's tag of the weights to download. None: OpenCLIP has no weights.
        license: of these weights; None without weights.
    """

    config: EncoderConfig
    tag: str | None
    license: str | None


def encoder_presets() -> dict[str, EncoderPreset]:
    """Return all encoders by their OpenCLIP name."""
    presets = {}
    for name, config in CLIP_ENCODERS.items():
        tag = PRETRAINED_TAGS.get(name)
        presets[name] = EncoderPreset(config, tag, None if tag is None else CLIP_LICENSE)
    for name, model in OPEN_CLIP_MODELS.items():
        named = OpenClipConfig(name=name, embedding_dim=model.embedding_dim)
        presets[name] = EncoderPreset(named, model.tag, model.license)
    return presets
