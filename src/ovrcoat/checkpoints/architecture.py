"""A network's configuration from the shapes of its weights (under our names).

What shapes cannot tell is the released models' habit: heads of 64 channels in CLIP, 8 heads in both decoders.
"""

import math
import re
from collections.abc import Mapping

from ovrcoat.config import (
    ClipTextConfig,
    ConvNextConfig,
    MaskDecoderConfig,
    ModelConfig,
    PixelDecoderConfig,
    ResNetConfig,
)
from ovrcoat.errors import CheckpointError
from ovrcoat.model.encoders.presets import CLIP_ENCODERS

Shape = tuple[int, ...]
ClipConfig = ConvNextConfig | ResNetConfig

CLIP_HEAD_CHANNELS = 64  # per head in every CLIP model
DECODER_HEADS = 8  # in both decoders of every released model
LEVELS = 3  # of the deformable encoder: strides 32, 16, 8


class Shapes:
    """The shapes of a file's weights, with questions to ask them."""

    def __init__(self, shapes: Mapping[str, Shape], *, source: str) -> None:
        self.shapes = shapes
        self.source = source

    def size(self, key: str, axis: int = 0) -> int:
        """Length of one axis of a weight.

        Raises:
            CheckpointError: the weight is not there, or has no such axis.
        """
        shape = self.shapes.get(key)
        if shape is None or len(shape) <= axis:
            found = "is not there" if shape is None else f"has shape {shape}"
            raise CheckpointError(
                f"{self.source}: the weight that becomes {key} {found}, and the architecture cannot be told "
                "without it. Is this a whole FC-CLIP or OVRCOAT checkpoint?"
            )
        return shape[axis]

    def count(self, pattern: str) -> int:
        """How many different indices stand where `pattern` has its group."""
        found = (re.fullmatch(pattern, key) for key in self.shapes)
        return len({match.group(1) for match in found if match})

    def __contains__(self, key: str) -> bool:
        return key in self.shapes


def detect(shapes: Mapping[str, Shape], *, source: str) -> ModelConfig:
    """The configuration of the network that these weights belong to; inference settings stay the defaults.

    Raises:
        CheckpointError: a telling weight is missing.
    """
    known = Shapes(shapes, source=source)
    pixel_layer = r"pixel_decoder\.layers\.(\d+)\..+"
    first_layer = "pixel_decoder.layers.0."
    weights_per_token = known.size(f"{first_layer}attention.attention_weights.bias")
    return ModelConfig(
        encoder=detect_encoder(known),
        pixel_decoder=PixelDecoderConfig(
            channels=known.size("pixel_decoder.level_embedding", 1),
            mask_channels=known.size("pixel_decoder.mask_projection.weight"),
            layers=known.count(pixel_layer),
            heads=DECODER_HEADS,
            points=weights_per_token // (DECODER_HEADS * LEVELS),
            feed_forward=known.size(f"{first_layer}feed_forward.linear1.weight"),
        ),
        mask_decoder=MaskDecoderConfig(
            channels=known.size("mask_decoder.query_features", 1),
            queries=known.size("mask_decoder.query_features"),
            layers=known.count(r"mask_decoder\.self_attention\.(\d+)\..+"),
            heads=DECODER_HEADS,
            feed_forward=known.size("mask_decoder.feed_forward.0.linear1.weight"),
        ),
    )


def detect_encoder(known: Shapes) -> ClipConfig:
    """The encoder, from its own weights where they are there, else the preset that fits the decoders."""
    if "encoder.text_tower.token_embedding.weight" in known:
        if "encoder.visual_trunk.stem.0.weight" in known:
            return _convnext(known)
        if "encoder.visual_trunk.conv1.weight" in known:
            return _resnet(known)
    return CLIP_ENCODERS[fitting_preset(known)]


def fitting_preset(known: Shapes) -> str:
    """The first CLIP model whose widths are the ones that the decoders expect.

    Raises:
        CheckpointError: there is none.
    """
    coarser = (known.size(f"pixel_decoder.input_projections.{level}.0.weight", 1) for level in (2, 1, 0))
    channels = (known.size("pixel_decoder.lateral.0.weight", 1), *coarser)
    embedding_dim = known.size("text_classifier.void_embedding")
    for name, preset in CLIP_ENCODERS.items():
        if _channels(preset) == channels and preset.embedding_dim == embedding_dim:
            return name
    raise CheckpointError(
        f"{known.source} lacks CLIP weights, and no known CLIP model has features of {channels} channels and "
        f"embeddings of {embedding_dim}. Give the CLIP weights that it was trained with: --clip FILE"
    )


def _channels(preset: ClipConfig) -> tuple[int, int, int, int]:
    if isinstance(preset, ConvNextConfig):
        return preset.widths
    return (preset.width * 4, preset.width * 8, preset.width * 16, preset.width * 32)


def _convnext(known: Shapes) -> ConvNextConfig:
    trunk = "encoder.visual_trunk.stages."
    pattern = re.escape(trunk)
    depths = tuple(known.count(rf"{pattern}{stage}\.blocks\.(\d+)\..+") for stage in range(4))
    widths = tuple(known.size(f"{trunk}{stage}.blocks.0.conv_dw.weight") for stage in range(4))
    hidden = "encoder.head_projection.0.weight"
    epsilons = (
        preset.norm_epsilon
        for preset in CLIP_ENCODERS.values()
        if isinstance(preset, ConvNextConfig) and (preset.depths, preset.widths) == (depths, widths)
    )
    return ConvNextConfig.model_validate(
        {
            "depths": depths,
            "widths": widths,
            "head_hidden": known.size(hidden) if hidden in known else None,
            "norm_epsilon": next(epsilons, ConvNextConfig.model_fields["norm_epsilon"].default),
            "embedding_dim": known.size("encoder.text_tower.text_projection", 1),
            "text": _text(known, openai=False),
        }
    )


def _resnet(known: Shapes) -> ResNetConfig:
    trunk = "encoder.visual_trunk."
    pattern = re.escape(trunk)
    blocks = tuple(known.count(rf"{pattern}layer{stage}\.(\d+)\..+") for stage in (1, 2, 3, 4))
    positions = known.size(f"{trunk}attnpool.positional_embedding")
    return ResNetConfig.model_validate(
        {
            "blocks": blocks,
            "width": known.size(f"{trunk}layer1.0.conv1.weight"),
            "heads": max(1, known.size(f"{trunk}attnpool.positional_embedding", 1) // CLIP_HEAD_CHANNELS),
            "pooling_grid": math.isqrt(positions - 1),
            "embedding_dim": known.size("encoder.text_tower.text_projection", 1),
            "text": _text(known, openai=True),
        }
    )


def _text(known: Shapes, *, openai: bool) -> ClipTextConfig:
    """The text tower; OpenAI's weights (all ResNets) were trained with the quick GELU."""
    width = known.size("encoder.text_tower.positional_embedding", 1)
    return ClipTextConfig(
        width=width,
        heads=max(1, width // CLIP_HEAD_CHANNELS),
        layers=known.count(r"encoder\.text_tower\.transformer\.resblocks\.(\d+)\..+"),
        context_length=known.size("encoder.text_tower.positional_embedding"),
        vocabulary_size=known.size("encoder.text_tower.token_embedding.weight"),
        activation="quick_gelu" if openai else "gelu",
    )
