"""Tiny networks of both CLIP families, and their weights under the names of a released file."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ovrcoat.config import (
    ClipTextConfig,
    ConvNextConfig,
    EncoderConfig,
    MaskDecoderConfig,
    ModelConfig,
    PixelDecoderConfig,
    ResNetConfig,
    TextTransferConfig,
)
from ovrcoat.model.network import SegmentationNetwork, build_network

FAMILIES = ("convnext", "resnet")
OPENCLIP = "backbone.clip_model."

# our name → the released one; written apart from the importer's table, which the tests check with it
RELEASED = (
    (r"encoder\.logit_scale", OPENCLIP + "logit_scale"),
    (r"encoder\.text_tower\.(.+)", OPENCLIP + r"\1"),
    (r"encoder\.head_norm\.(.+)", OPENCLIP + r"visual.trunk.head.norm.\1"),
    (r"encoder\.head_projection\.0\.(.+)", OPENCLIP + r"visual.head.mlp.fc1.\1"),
    (r"encoder\.head_projection\.2\.(.+)", OPENCLIP + r"visual.head.mlp.fc2.\1"),
    (r"encoder\.visual_trunk\.(st.+)", OPENCLIP + r"visual.trunk.\1"),
    (r"encoder\.visual_trunk\.(.+)", OPENCLIP + r"visual.\1"),
    (r"pixel_decoder\.input_projections\.(.+)", r"sem_seg_head.pixel_decoder.input_proj.\1"),
    (r"pixel_decoder\.level_embedding", "sem_seg_head.pixel_decoder.transformer.level_embed"),
    (
        r"pixel_decoder\.layers\.(\d+)\.attention\.(.+)",
        r"sem_seg_head.pixel_decoder.transformer.encoder.layers.\1.self_attn.\2",
    ),
    (
        r"pixel_decoder\.layers\.(\d+)\.norm\.(.+)",
        r"sem_seg_head.pixel_decoder.transformer.encoder.layers.\1.norm1.\2",
    ),
    (
        r"pixel_decoder\.layers\.(\d+)\.feed_forward\.norm\.(.+)",
        r"sem_seg_head.pixel_decoder.transformer.encoder.layers.\1.norm2.\2",
    ),
    (
        r"pixel_decoder\.layers\.(\d+)\.feed_forward\.(.+)",
        r"sem_seg_head.pixel_decoder.transformer.encoder.layers.\1.\2",
    ),
    (r"pixel_decoder\.lateral\.0\.(.+)", r"sem_seg_head.pixel_decoder.adapter_1.\1"),
    (r"pixel_decoder\.lateral\.1\.(.+)", r"sem_seg_head.pixel_decoder.adapter_1.norm.\1"),
    (r"pixel_decoder\.output\.0\.(.+)", r"sem_seg_head.pixel_decoder.layer_1.\1"),
    (r"pixel_decoder\.output\.1\.(.+)", r"sem_seg_head.pixel_decoder.layer_1.norm.\1"),
    (r"pixel_decoder\.mask_projection\.(.+)", r"sem_seg_head.pixel_decoder.mask_features.\1"),
    (r"mask_decoder\.query_features", "sem_seg_head.predictor.query_feat.weight"),
    (r"mask_decoder\.query_positions", "sem_seg_head.predictor.query_embed.weight"),
    (r"mask_decoder\.level_embedding", "sem_seg_head.predictor.level_embed.weight"),
    (
        r"mask_decoder\.cross_attention\.(\d+)\.attention\.(.+)",
        r"sem_seg_head.predictor.transformer_cross_attention_layers.\1.multihead_attn.\2",
    ),
    (
        r"mask_decoder\.cross_attention\.(.+)",
        r"sem_seg_head.predictor.transformer_cross_attention_layers.\1",
    ),
    (
        r"mask_decoder\.self_attention\.(\d+)\.attention\.(.+)",
        r"sem_seg_head.predictor.transformer_self_attention_layers.\1.self_attn.\2",
    ),
    (
        r"mask_decoder\.self_attention\.(.+)",
        r"sem_seg_head.predictor.transformer_self_attention_layers.\1",
    ),
    (r"mask_decoder\.feed_forward\.(.+)", r"sem_seg_head.predictor.transformer_ffn_layers.\1"),
    (r"mask_decoder\.norm\.(.+)", r"sem_seg_head.predictor.decoder_norm.\1"),
    (r"mask_decoder\.mask_head\.(.+)", r"sem_seg_head.predictor.mask_embed.\1"),
    (r"mask_decoder\.pooled_projection\.(.+)", r"sem_seg_head.predictor._mask_pooling_proj.\1"),
    (r"mask_decoder\.embedding_head\.(.+)", r"sem_seg_head.predictor.class_embed.\1"),
    (r"text_classifier\.logit_scale", "sem_seg_head.predictor.logit_scale"),
    (r"text_classifier\.void_embedding", "void_embedding.weight"),
    (r"text_transfer\.attention\.(.+)", r"cdt.cross_atten.multihead_attn.\1"),
    (r"text_transfer\.linear\.(.+)", r"cdt.cross_atten.MLP.\1"),
    (r"text_transfer\.norm\.(.+)", r"cdt.cross_atten.norm.\1"),
)


def encoder_config(family: str) -> EncoderConfig:
    """Numbers of heads are those that the converter assumes: 64 channels per head, at least one head."""
    if family == "convnext":
        return ConvNextConfig(
            depths=(1, 1, 2, 1),
            widths=(8, 8, 16, 16),
            head_hidden=12,
            embedding_dim=16,
            text=ClipTextConfig(width=8, heads=1, layers=2),
        )
    return ResNetConfig(
        blocks=(1, 1, 1, 1),
        width=4,
        heads=2,
        pooling_grid=3,
        embedding_dim=16,
        text=ClipTextConfig(width=8, heads=1, layers=2, activation="quick_gelu"),
    )


def make_config(
    family: str,
    *,
    transfer: TextTransferConfig | None = None,
    selected_queries: int = 0,
    local_masks: bool = False,
) -> ModelConfig:
    """A whole network with a few hundred thousand weights, mostly CLIP's token embeddings."""
    mask_decoder = MaskDecoderConfig(
        channels=32,
        queries=5,
        layers=3,
        feed_forward=16,
        selected_queries=selected_queries,
        local_masks=local_masks,
    )
    return ModelConfig(
        encoder=encoder_config(family),
        pixel_decoder=PixelDecoderConfig(channels=32, mask_channels=32, layers=1, feed_forward=16),
        mask_decoder=mask_decoder,
        text_transfer=transfer,
    )


def make_network(
    family: str,
    *,
    transfer: TextTransferConfig | None = None,
    selected_queries: int = 0,
    local_masks: bool = False,
) -> SegmentationNetwork:
    """Return the same network at every call, in eval mode."""
    config = make_config(
        family, transfer=transfer, selected_queries=selected_queries, local_masks=local_masks
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network(config).eval()


def released_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names of a released file."""
    released = {}
    for key, value in state.items():
        pattern, theirs = next(line for line in RELEASED if re.fullmatch(line[0], key))
        name = re.sub(f"^{pattern}$", theirs, key)
        released[name] = value[None] if name == "void_embedding.weight" else value
    return released


def write_encoder(path: Path, family: str) -> None:
    """Write the weights of the encoder alone, under OpenCLIP's names."""
    released = released_state(make_network(family).state_dict())
    encoder = {
        key.removeprefix(OPENCLIP): value for key, value in released.items() if key.startswith(OPENCLIP)
    }
    torch.save(encoder, path)
