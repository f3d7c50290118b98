"""Activation checkpointing: less memory, more time."""

from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ovrcoat.model.mask_decoder import MaskDecoder
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import PixelFeatures


def recompute_activations(network: SegmentationNetwork) -> None:
    """Change the network in place so that its blocks keep only their inputs for the backward pass.

    Everything else is computed again. Losses and gradients do not change.
    """
    for part in _parts(network):
        part.forward = partial(_checkpointed, part, part.forward)
    network.mask_decoder.embed = partial(_embed, network.mask_decoder, network.mask_decoder.embed)  # type: ignore[method-assign]


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


def _embed(  # type: ignore[no-untyped-def]
    decoder: MaskDecoder,
    embed,
    normed: Float[Tensor, "batch query channel"],
    mask_logits: Float[Tensor, "batch query height width"],
    pixels: PixelFeatures,
) -> Float[Tensor, "batch query embedding"]:
    """The category head, without keeping the masks of every layer: their logits are recomputed, too."""
    if not (decoder.training and torch.is_grad_enabled()):
        return embed(normed, mask_logits, pixels)

    def recompute(normed: Tensor, mask_features: Tensor) -> Tensor:
        logits = decoder.masks(normed.detach(), mask_features.detach())
        return embed(normed, logits.detach(), PixelFeatures(mask_features, pixels.multi_scale_features))

    return checkpoint(recompute, normed, pixels.mask_features, use_reentrant=False)
