"""A small Mask2Former with random weights, for tests that need a source of masks."""

import re

import torch
from torch import nn

from ovrcoat.config import (
    Mask2FormerConfig,
    MaskDecoderConfig,
    PixelDecoderConfig,
    ResNetBackboneConfig,
    SwinConfig,
)
from ovrcoat.model.mask2former import Mask2Former, build_mask2former


def make_config(backbone: str = "swin", *, classes: int = 19) -> Mask2FormerConfig:
    """Return the configuration of a small network, with the head count of every published one."""
    swin = SwinConfig(width=16, depths=(1, 2, 1, 1), heads=(1, 2, 2, 4), window=7, mlp_ratio=2.0)
    return Mask2FormerConfig(
        classes=classes,
        backbone=swin if backbone == "swin" else ResNetBackboneConfig(depths=(1, 1, 2, 1)),
        pixel_decoder=PixelDecoderConfig(
            channels=32, mask_channels=32, layers=2, heads=8, points=4, feed_forward=24
        ),
        mask_decoder=MaskDecoderConfig(channels=32, queries=5, layers=3, heads=8, feed_forward=40),
    )


def make_mask2former(*, classes: int) -> Mask2Former:
    """Return the same network at every call; its masks differ from each other."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = build_mask2former(make_config(classes=classes))
        for weight in network.mask_decoder.mask_head.parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=2 / weight.shape[1] ** 0.5)
    return network.eval()


def detectron2_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict of ours under Detectron2's names."""
    renamed = {}
    for key, value in state.items():
        for pattern, theirs in DETECTRON2:
            if found := re.fullmatch(pattern, key):
                renamed[found.expand(theirs)] = value
                break
        else:
            renamed[key] = value
    return renamed


PIXEL, MASK = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
LAYERS = PIXEL + "transformer.encoder.layers."


def stage_names(stage: int) -> tuple[tuple[str, str], ...]:
    """Return the names of a stage of a backbone: ours, Detectron2's."""
    swin, resnet = rf"backbone\.features\.{2 * stage + 1}\.(\d+)\.", rf"backbone\.stages\.{stage}\.(\d+)\."
    blocks, units = rf"backbone.layers.{stage}.blocks.\1.", rf"backbone.res{stage + 2}.\1."
    return (
        (swin + r"mlp\.0\.(.+)", blocks + r"mlp.fc1.\2"),
        (swin + r"mlp\.3\.(.+)", blocks + r"mlp.fc2.\2"),
        (swin + r"(.+)", blocks + r"\2"),
        (rf"backbone\.features\.{2 * stage + 2}\.(.+)", rf"backbone.layers.{stage}.downsample.\1"),
        (rf"backbone\.norms\.{stage}\.(.+)", rf"backbone.norm{stage}.\1"),
        (resnet + r"downsample\.0\.(.+)", units + r"shortcut.\2"),
        (resnet + r"downsample\.1\.(.+)", units + r"shortcut.norm.\2"),
        (resnet + r"bn(\d)\.(.+)", units + r"conv\2.norm.\3"),
        (resnet + r"(conv.+)", units + r"\2"),
    )


DETECTRON2 = (
    (r"backbone\.features\.0\.0\.(.+)", r"backbone.patch_embed.proj.\1"),
    (r"backbone\.features\.0\.2\.(.+)", r"backbone.patch_embed.norm.\1"),
    *(entry for stage in range(4) for entry in stage_names(stage)),
    (r"backbone\.stem\.0\.(.+)", r"backbone.stem.conv1.\1"),
    (r"backbone\.stem\.1\.(.+)", r"backbone.stem.conv1.norm.\1"),
    (r"pixel_decoder\.level_embedding", PIXEL + "transformer.level_embed"),
    (r"pixel_decoder\.input_projections\.(.+)", PIXEL + r"input_proj.\1"),
    (r"pixel_decoder\.layers\.(\d+)\.attention\.(.+)", LAYERS + r"\1.self_attn.\2"),
    (r"pixel_decoder\.layers\.(\d+)\.norm\.(.+)", LAYERS + r"\1.norm1.\2"),
    (r"pixel_decoder\.layers\.(\d+)\.feed_forward\.norm\.(.+)", LAYERS + r"\1.norm2.\2"),
    (r"pixel_decoder\.layers\.(\d+)\.feed_forward\.(.+)", LAYERS + r"\1.\2"),
    (r"pixel_decoder\.lateral\.0\.(.+)", PIXEL + r"adapter_1.\1"),
    (r"pixel_decoder\.lateral\.1\.(.+)", PIXEL + r"adapter_1.norm.\1"),
    (r"pixel_decoder\.output\.0\.(.+)", PIXEL + r"layer_1.\1"),
    (r"pixel_decoder\.output\.1\.(.+)", PIXEL + r"layer_1.norm.\1"),
    (r"pixel_decoder\.mask_projection\.(.+)", PIXEL + r"mask_features.\1"),
    (r"mask_decoder\.query_features", MASK + "query_feat.weight"),
    (r"mask_decoder\.query_positions", MASK + "query_embed.weight"),
    (r"mask_decoder\.level_embedding", MASK + "level_embed.weight"),
    (
        r"mask_decoder\.cross_attention\.(\d+)\.attention\.(.+)",
        MASK + r"transformer_cross_attention_layers.\1.multihead_attn.\2",
    ),
    (r"mask_decoder\.cross_attention\.(\d+)\.(norm\..+)", MASK + r"transformer_cross_attention_layers.\1.\2"),
    (
        r"mask_decoder\.self_attention\.(\d+)\.attention\.(.+)",
        MASK + r"transformer_self_attention_layers.\1.self_attn.\2",
    ),
    (r"mask_decoder\.self_attention\.(\d+)\.(norm\..+)", MASK + r"transformer_self_attention_layers.\1.\2"),
    (r"mask_decoder\.feed_forward\.(.+)", MASK + r"transformer_ffn_layers.\1"),
    (r"mask_decoder\.norm\.(.+)", MASK + r"decoder_norm.\1"),
    (r"mask_decoder\.mask_head\.(.+)", MASK + r"mask_embed.\1"),
    (r"mask_decoder\.embedding_head\.(.+)", MASK + r"class_embed.\1"),
)
