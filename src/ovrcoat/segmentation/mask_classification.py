"""Masks that the user brings: checked, embedded by the image encoder, named. For `segmenter.py`."""

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
from ovrcoat.postprocessing.segments import top_categories
from ovrcoat.structures import ImageBatch, Size
from ovrcoat.vocabulary import Vocabulary

MASK_STRIDE = 4  # of the network's own masks, which encoders are made for


@dataclass(frozen=True, slots=True)
class MaskLabel:
    """What CLIP calls a mask.

    Attributes:
        category: first name of the best of your categories; None if a hidden background word fits better.
        category_id: its `Category.id`, None likewise.
        score: probability of your best category, 0..1 over your words and the hidden ones.
        certainty: the largest probability of all words, hidden ones too (`p_cer` of the paper).
        top: your best categories with their probabilities, five at most.
    """

    category: str | None
    category_id: int | None
    score: float
    clip_confidence: float
    top: tuple[tuple[str, float], ...]


def check_masks(masks: Any, size: Size) -> Bool[np.ndarray, "mask height width"]:
    """Masks of a photo of `size` as booleans: what is not 0 is inside.

    Raises:
        ImageError: shape or type do not fit, or a mask is empty.
    """
    array = np.asarray(masks.detach().cpu() if isinstance(masks, torch.Tensor) else masks)
    if array.ndim == 1 and array.size == 0:
        array = np.zeros((0, *size), dtype=bool)  # an empty list
    if array.ndim != 3 or array.shape[1:] != size:
        raise ImageError(
            f"masks have shape {array.shape}, expected (N, {size[0]}, {size[1]}): N masks at the size of the "
            "upright image; a single one is mask[None], one of an id map is (id_map == id)[None]"
        )
    if array.dtype.kind not in "bui":
        raise ImageError(f"masks have type {array.dtype}, expected bool or integers; threshold them first")
    inside = array.astype(bool, copy=False)
    empty = np.flatnonzero(~inside.any(axis=(1, 2))).tolist()
    if empty:
        raise ImageError(f"masks {empty} are empty: leave them out, there is nothing to name")
    return inside


def embed_masks(
    encoder: Encoder, batch: ImageBatch, *, masks: Bool[np.ndarray, "mask height width"]
) -> Float[Tensor, "mask embedding"]:
    """CLIP's embedding (not normalised) of each mask of the one image in `batch`."""
    features = encoder(batch)
    height, width = batch.padded_size
    fine = _logits(masks, batch, grid=(height // MASK_STRIDE, width // MASK_STRIDE))
    embedded = encoder.embed_masks(features, fine)
    if embedded.valid_mask.all():
        return embedded.embeddings[0]
    # some vanish on CLIP's coarse map: these take the cells that they touch most
    coarse = encoder.embed_masks(features, _logits(masks, batch, grid=tuple(features.dense.shape[-2:])))
    return torch.where(embedded.valid_mask[..., None], embedded.embeddings, coarse.embeddings)[0]


def label_mask(probs: Float[Tensor, " category"], vocabulary: Vocabulary) -> MaskLabel:
    """Name a mask by its probabilities over `vocabulary.all_categories`."""
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
    batch: ImageBatch,
    *,
    grid: Size,
) -> Float[Tensor, "1 mask _ _"]:
    """Logits (positive is inside) where a mask covers half of a cell, or half of what it covers at most.

    The second keeps at least one cell of a mask that is smaller than any.
    """
    (valid,) = batch.valid_sizes
    logits = []
    # one after the other: a hundred masks of a large image as floats would fill the memory
    for mask in masks:
        coverage = mask_coverage(mask, valid=valid, padded=batch.padded_size, grid=grid)
        logits.append(coverage - min(0.5, float(coverage.max()) / 2))
    return torch.stack(logits)[None].to(batch.pixels.device)
