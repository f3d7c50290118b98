"""A small Mask2Former with random weights, for tests that need a source of masks."""

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
