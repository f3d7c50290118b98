"""Less memory for more time: parts forget what they computed and compute it again in the backward pass."""

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ovrcoat.model.network import SegmentationNetwork


def recompute_activations(network: SegmentationNetwork) -> None:
    """Let the encoder's stages and the decoders' layers keep only their inputs while training."""
    for part in _parts(network):
        part.forward = partial(_call, part, part.forward)


def _parts(network: SegmentationNetwork) -> list[nn.Module]:
    trunk = network.encoder.visual_trunk
    stages = getattr(trunk, "stages", None) or [getattr(trunk, f"layer{number}") for number in range(1, 5)]
    decoder = network.mask_decoder
    layers = [network.pixel_decoder.layers, decoder.cross_attention, decoder.self_attention]
    return [*stages, *(layer for group in (*layers, decoder.feed_forward) for layer in group)]


def _call(part: nn.Module, forward, *args, **kwargs):  # type: ignore[no-untyped-def]
    """`forward` again in the backward pass, if there will be one."""
    trains = part.training or any(parameter.requires_grad for parameter in part.parameters())
    if not (trains and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
