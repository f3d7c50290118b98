"""Classify masks that the user supplies, such as masks of another tool, by CLIP alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovrcoat.data.transforms import mask_coverage
from ovrcoat.errors import ImageError
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.postprocessing.segments import top_categories
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.structures import Encoding, Size
from ovrcoat.vocabulary import Vocabulary

MASK_STRIDE = 4  # of the decoder's own masks, which encoders are made for


@dataclass(frozen=True, slots=True)
class MaskLabel:
    """Classification of one mask.

    Attributes:
        category: first name of the best category; None if a background class fits better.
        category_id: its `Category.id`; None likewise.
        score: probability of the best category, 0..1. Categories and background classes sum to one.
        clip_confidence: the largest probability, background classes included, 0..1 (`p_cer` in the paper).
        top: the best categories with their probabilities, five at most.
    """

    category: str | None
    category_id: int | None
    score: float
    clip_confidence: float
    top: tuple[tuple[str, float], ...]


def check_masks(masks: Any, size: Size) -> Bool[np.ndarray, "mask height width"]:
    """Return the masks of an image of `size` as booleans; every value except 0 is inside.

    Raises:
        ImageError: the shape or the dtype is not supported, or a mask is empty.
    """
    array = np.asarray(masks.detach().cpu() if isinstance(masks, torch.Tensor) else masks)
    if array.ndim == 1 and array.size == 0:
        array = np.zeros((0, *size), dtype=bool)  # an empty list
    if array.ndim != 3 or array.shape[1:] != size:
        raise ImageError(
            f"masks have shape {array.shape}, expected (N, {size[0]}, {size[1]}): N masks at the size of the "
            "upright image. For a single mask pass mask[None], for one id of an id map (id_map == id)[None]"
        )
    if array.dtype.kind not in "bui":
        raise ImageError(f"masks have dtype {array.dtype}, expected bool or integers; threshold them first")
    inside = array.astype(bool, copy=False)
    empty = np.flatnonzero(~inside.any(axis=(1, 2))).tolist()
    if empty:
        raise ImageError(f"masks {empty} are empty; leave them out")
    return inside


def embed_masks(
    encoder: Encoder,
    clip_features: Float[Tensor, "1 _ _ _"],
    *,
    masks: Bool[np.ndarray, "mask height width"],
    sizes: ImageSizes,
) -> Float[Tensor, "mask embedding"]:
    """Return CLIP's embedding, not normalized, of each mask.

    Args:
        encoder: the encoder that computed the features.
        clip_features: its CLIP feature map of one image.
        masks: masks at the size of the image.
        sizes: `padded` and `valid` size of the image in the network's input.
    """
    height, width = sizes.padded
    fine = _logits(masks, sizes, grid=(height // MASK_STRIDE, width // MASK_STRIDE))
    embedded = encoder.embed_masks(clip_features, fine.to(clip_features.device))
    if embedded.valid_mask.all():
        return embedded.embeddings[0]
    # masks that vanish on CLIP's coarse feature map use the cells that they cover most
    grid = (clip_features.shape[-2], clip_features.shape[-1])
    coarse = _logits(masks, sizes, grid=grid).to(clip_features.device)
    fallback = encoder.embed_masks(clip_features, coarse)
    return torch.where(embedded.valid_mask[..., None], embedded.embeddings, fallback.embeddings)[0]


def label_masks(
    network: SegmentationNetwork,
    encoding: Encoding,
    *,
    masks: Bool[np.ndarray, "mask height width"],
    sizes: ImageSizes,
    prompt: SegmentationPrompt,
) -> tuple[MaskLabel, ...]:
    """Return the label of each mask.

    Args:
        network: the network that encoded the image.
        encoding: of one image, with CLIP's feature map.
        masks: masks at the size of the image.
        sizes: see `embed_masks`.
        prompt: the vocabulary.
    """
    assert encoding.clip_features is not None  # `ImageEncoder` keeps them
    encoder = network.encoder
    mask_embeddings = embed_masks(encoder, encoding.clip_features, masks=masks, sizes=sizes)
    text_embeddings = network.adapt(encoding, prompt.embeddings)
    probs = encoder.classify(mask_embeddings[None], text_embeddings)[0].softmax(-1)
    return tuple(_label(mask_probs, prompt.vocabulary) for mask_probs in probs.cpu())


def _label(probs: Float[Tensor, " category"], vocabulary: Vocabulary) -> MaskLabel:
    """Return the label of a mask, given its probabilities over `vocabulary.all_categories`."""
    categories = vocabulary.categories
    top = top_categories(probs, categories)
    winner = int(probs.argmax())
    is_visible = winner < len(categories)
    return MaskLabel(
        category=categories[winner].name if is_visible else None,
        category_id=categories[winner].id if is_visible else None,
        score=top[0][1],
        clip_confidence=float(probs.max()),
        top=top,
    )


def _logits(
    masks: Sequence[Bool[np.ndarray, "height width"]] | Bool[np.ndarray, "mask height width"],
    sizes: ImageSizes,
    *,
    grid: Size,
) -> Float[Tensor, "1 mask _ _"]:
    """Return logits that are positive where a mask covers more than half of a cell of `grid`.

    If it covers no cell by half, the threshold is half of its largest coverage, which keeps at least one
    cell.
    """
    logits = []
    # one mask at a time: a hundred masks of a large image as floats would need too much memory
    for mask in masks:
        coverage = mask_coverage(mask, valid=sizes.valid, padded=sizes.padded, grid=grid)
        logits.append(coverage - min(0.5, float(coverage.max()) / 2))
    return torch.stack(logits)[None]
