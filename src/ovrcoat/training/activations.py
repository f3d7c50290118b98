"""Activation checkpointing: less memory, more time."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ovrcoat.model.network import SegmentationNetwork


def recompute_activations(network: SegmentationNetwork) -> None:
    """Change the network in place so that its blocks keep only their inputs for the backward pass.

    Everything else is computed again. Losses and gradients do not change.
    """
    for part in _parts(network):
        part.forward = partial(_checkpointed, part, part.forward)
    decoder = network.mask_decoder
    # also the masks of every layer: a product of queries and pixels
    decoder.predict = partial(_checkpointed, decoder, decoder.predict)  # type: ignore[method-assign]


def _parts(network: SegmentationNetwork) -> Iterator[nn.Module]:
    """Modules to checkpoint. They are small, because all activations of one are in memory at once."""
    yield from network.encoder.checkpointed_blocks()
    pixel_decoder, decoder = network.pixel_decoder, network.mask_decoder
    yield from (*pixel_decoder.layers, pixel_decoder.lateral, pixel_decoder.output)
    for group in (decoder.cross_attention, decoder.self_attention, decoder.feed_forward):
        yield from group


def _checkpointed(part: nn.Module, forward, *args, **kwargs):  # type: ignore[no-untyped-def]
    """Run `forward`, checkpointed if there will be a backward pass."""
    trains = part.training or any(parameter.requires_grad for parameter in part.parameters())
    if not (trains and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
