"""Detection of a network's configuration from the shapes of its weights (under our names).

Shapes do not determine the number of attention heads. It is taken from the released models: 64 channels per
head in CLIP, 8 heads in both decoders.
"""

import math
import re
from collections.abc import Mapping

from ovrcoat.choices import Arrangement
from ovrcoat.config import (
    ClipTextConfig,
    ConvNextConfig,
    Mask2FormerConfig,
    MaskDecoderConfig,
    ModelConfig,
    PixelDecoderConfig,
    ResNetBackboneConfig,
    ResNetConfig,
    SwinConfig,
    TextTransferConfig,
)
from ovrcoat.errors import CheckpointError
from ovrcoat.model.encoders.presets import CLIP_ENCODERS

Shape = tuple[int, ...]
ClipConfig = ConvNextConfig | ResNetConfig

CLIP_HEAD_CHANNELS = 64  # per head in every CLIP model
DECODER_HEADS = 8  # in both decoders of every released model, and in MAFT+'s transfer
LEVELS = 3  # of the deformable encoder: strides 32, 16, 8


class WeightShapes:
    """The shapes of a file's weights."""

    def __init__(self, shapes: Mapping[str, Shape], *, source: str) -> None:
        self.shapes = shapes
        self.source = source

    def size(self, key: str, axis: int = 0) -> int:
        """Return the length of one axis of a weight.

        Raises:
            CheckpointError: there is no such weight, or it has no such axis.
        """
        shape = self.shapes.get(key)
        if shape is None or len(shape) <= axis:
            found = "is missing" if shape is None else f"has shape {shape}"
            raise CheckpointError(
                f"{self.source}: the weight that corresponds to {key} {found}, so that the "
                "architecture cannot be detected. Use a complete checkpoint of FC-CLIP, OVRCOAT, MAFT+ or "
                "Mask2Former"
            )
        return shape[axis]

    def count(self, pattern: str) -> int:
        """Return how many different indices match the group of `pattern`."""
        found = (re.fullmatch(pattern, key) for key in self.shapes)
        return len({match.group(1) for match in found if match})

    def __contains__(self, key: str) -> bool:
        return key in self.shapes


def detect(
    shapes: Mapping[str, Shape], *, source: str, arrangement: Arrangement | None = None
) -> ModelConfig:
    """Return the configuration of the network with these weights, with default inference settings.

    Args:
        shapes: of the weights, by key.
        source: name of their file, for messages.
        arrangement: of the text transfer, which its weights do not show. None: there is no transfer.

    Raises:
        CheckpointError: a weight that is needed for the detection is missing.
    """
    weights = WeightShapes(shapes, source=source)
    pixel_decoder, mask_decoder = _detect_decoders(weights, heads=DECODER_HEADS)
    return ModelConfig(
        encoder=detect_encoder(weights),
        pixel_decoder=pixel_decoder,
        mask_decoder=mask_decoder,
        text_transfer=None
        if arrangement is None
        else TextTransferConfig(heads=DECODER_HEADS, arrangement=arrangement),
    )


def detect_mask2former(
    shapes: Mapping[str, Shape], *, source: str, heads: int = DECODER_HEADS
) -> Mask2FormerConfig:
    """Return the configuration of the Mask2Former with these weights.

    Args:
        shapes: of the weights, by key.
        source: name of their file, for messages.
        heads: attention heads of both decoders.

    Raises:
        CheckpointError: a weight that is needed for the detection is missing.
    """
    weights = WeightShapes(shapes, source=source)
    pixel_decoder, mask_decoder = _detect_decoders(weights, heads=heads)
    is_swin = "backbone.features.0.0.weight" in weights
    return Mask2FormerConfig(
        classes=weights.size("mask_decoder.embedding_head.weight") - 1,
        backbone=_swin(weights) if is_swin else _resnet_backbone(weights),
        pixel_decoder=pixel_decoder,
        mask_decoder=mask_decoder,
    )


def _detect_decoders(weights: WeightShapes, *, heads: int) -> tuple[PixelDecoderConfig, MaskDecoderConfig]:
    pixel_layer = r"pixel_decoder\.layers\.(\d+)\..+"
    first_layer = "pixel_decoder.layers.0."
    weights_per_token = weights.size(f"{first_layer}attention.attention_weights.bias")
    pixel_decoder = PixelDecoderConfig(
        channels=weights.size("pixel_decoder.level_embedding", 1),
        mask_channels=weights.size("pixel_decoder.mask_projection.weight"),
        layers=weights.count(pixel_layer),
        heads=heads,
        points=weights_per_token // (heads * LEVELS),
        feed_forward=weights.size(f"{first_layer}feed_forward.linear1.weight"),
    )
    mask_decoder = MaskDecoderConfig(
        channels=weights.size("mask_decoder.query_features", 1),
        queries=weights.size("mask_decoder.query_features"),
        layers=weights.count(r"mask_decoder\.self_attention\.(\d+)\..+"),
        heads=heads,
        feed_forward=weights.size("mask_decoder.feed_forward.0.linear1.weight"),
    )
    return pixel_decoder, mask_decoder


def _swin(weights: WeightShapes) -> SwinConfig:
    blocks = [f"backbone.features.{2 * stage + 1}." for stage in range(4)]
    table = "0.attn.relative_position_bias_table"  # (2 × window - 1)² positions, one column per head
    width = weights.size("backbone.features.0.0.weight")
    return SwinConfig.model_validate(
        {
            "width": width,
            "depths": tuple(weights.count(rf"{re.escape(block)}(\d+)\..+") for block in blocks),
            "heads": tuple(weights.size(f"{block}{table}", 1) for block in blocks),
            "window": (math.isqrt(weights.size(f"{blocks[0]}{table}")) + 1) // 2,
            "mlp_ratio": weights.size(f"{blocks[0]}0.mlp.0.weight") / width,
        }
    )


def _resnet_backbone(weights: WeightShapes) -> ResNetBackboneConfig:
    depths = tuple(weights.count(rf"backbone\.stages\.{stage}\.(\d+)\..+") for stage in range(4))
    return ResNetBackboneConfig.model_validate({"depths": depths})


def detect_encoder(weights: WeightShapes) -> ClipConfig:
    """Detect the encoder from its own weights, or, without them, from the widths that the decoders expect."""
    if "encoder.text_tower.token_embedding.weight" in weights:
        if "encoder.visual_trunk.stem.0.weight" in weights:
            return _convnext(weights)
        if "encoder.visual_trunk.conv1.weight" in weights:
            return _resnet(weights)
    return CLIP_ENCODERS[fitting_preset(weights)]


def fitting_preset(weights: WeightShapes) -> str:
    """Return the first CLIP model with the widths that the decoders expect.

    Raises:
        CheckpointError: there is no such model.
    """
    coarser = (weights.size(f"pixel_decoder.input_projections.{level}.0.weight", 1) for level in (2, 1, 0))
    channels = (weights.size("pixel_decoder.lateral.0.weight", 1), *coarser)
    embedding_dim = weights.size("text_classifier.void_embedding")
    for name, preset in CLIP_ENCODERS.items():
        if _channels(preset) == channels and preset.embedding_dim == embedding_dim:
            return name
    raise CheckpointError(
        f"{weights.source} lacks CLIP weights, and no known CLIP model has features of {channels} channels "
        f"and embeddings of {embedding_dim}. Pass the CLIP weights that it was trained with: --clip FILE"
    )


def _channels(preset: ClipConfig) -> tuple[int, int, int, int]:
    if isinstance(preset, ConvNextConfig):
        return preset.widths
    return (preset.width * 4, preset.width * 8, preset.width * 16, preset.width * 32)


def _convnext(weights: WeightShapes) -> ConvNextConfig:
    trunk = "encoder.visual_trunk.stages."
    pattern = re.escape(trunk)
    depths = tuple(weights.count(rf"{pattern}{stage}\.blocks\.(\d+)\..+") for stage in range(4))
    widths = tuple(weights.size(f"{trunk}{stage}.blocks.0.conv_dw.weight") for stage in range(4))
    hidden_layer = "encoder.head_projection.0.weight"
    epsilons = (
        preset.norm_epsilon
        for preset in CLIP_ENCODERS.values()
        if isinstance(preset, ConvNextConfig) and (preset.depths, preset.widths) == (depths, widths)
    )
    return ConvNextConfig.model_validate(
        {
            "depths": depths,
            "widths": widths,
            "head_hidden": weights.size(hidden_layer) if hidden_layer in weights else None,
            "norm_epsilon": next(epsilons, ConvNextConfig.model_fields["norm_epsilon"].default),
            "embedding_dim": weights.size("encoder.text_tower.text_projection", 1),
            "text": _text(weights, openai=False),
        }
    )


def _resnet(weights: WeightShapes) -> ResNetConfig:
    trunk = "encoder.visual_trunk."
    pattern = re.escape(trunk)
    blocks = tuple(weights.count(rf"{pattern}layer{stage}\.(\d+)\..+") for stage in (1, 2, 3, 4))
    positions = weights.size(f"{trunk}attnpool.positional_embedding")
    return ResNetConfig.model_validate(
        {
            "blocks": blocks,
            "width": weights.size(f"{trunk}layer1.0.conv1.weight"),
            "heads": max(1, weights.size(f"{trunk}attnpool.positional_embedding", 1) // CLIP_HEAD_CHANNELS),
            "pooling_grid": math.isqrt(positions - 1),
            "embedding_dim": weights.size("encoder.text_tower.text_projection", 1),
            "text": _text(weights, openai=True),
        }
    )


def _text(weights: WeightShapes, *, openai: bool) -> ClipTextConfig:
    """Detect the text tower. OpenAI's weights (all ResNets) were trained with the quick GELU."""
    width = weights.size("encoder.text_tower.positional_embedding", 1)
    return ClipTextConfig(
        width=width,
        heads=max(1, width // CLIP_HEAD_CHANNELS),
        layers=weights.count(r"encoder\.text_tower\.transformer\.resblocks\.(\d+)\..+"),
        context_length=weights.size("encoder.text_tower.positional_embedding"),
        vocabulary_size=weights.size("encoder.text_tower.token_embedding.weight"),
        activation="quick_gelu" if openai else "gelu",
    )
