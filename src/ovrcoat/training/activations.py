"""Less memory for more time: parts forget what they computed and compute it again in the backward pass."""

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
    """Let the encoder's blocks and the decoders' layers keep only their inputs while training."""
    for part in _parts(network):
        part.forward = partial(_call, part, part.forward)
    network.mask_decoder.embed = partial(_embed, network.mask_decoder, network.mask_decoder.embed)  # type: ignore[method-assign]


def _parts(network: SegmentationNetwork) -> Iterator[nn.Module]:
    """Small parts: while one is computed again, all that it keeps is in memory at once."""
    trunk = network.encoder.visual_trunk
    for stage in getattr(trunk, "stages", None) or [
        getattr(trunk, f"layer{number}") for number in range(1, 5)
    ]:
        blocks = getattr(stage, "blocks", stage)  # a ConvNeXt's stage has its downsampling beside its blocks
        yield from blocks
    pixel_decoder, decoder = network.pixel_decoder, network.mask_decoder
    yield from (*pixel_decoder.layers, pixel_decoder.lateral, pixel_decoder.output)
    for group in (decoder.cross_attention, decoder.self_attention, decoder.feed_forward):
        yield from group


def _call(part: nn.Module, forward, *args, **kwargs):  # type: ignore[no-untyped-def]
    """`forward` again in the backward pass, if there will be one."""
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
    """The category head, which else keeps all masks of all predictions; their logits are made again, too."""
    if not (decoder.training and torch.is_grad_enabled()):
        return embed(normed, mask_logits, pixels)

    def again(normed: Tensor, per_pixel: Tensor) -> Tensor:
        logits = decoder.masks(normed.detach(), per_pixel.detach())
        return embed(normed, logits.detach(), PixelFeatures(per_pixel, pixels.memory))

    return checkpoint(again, normed, pixels.per_pixel, use_reentrant=False)
