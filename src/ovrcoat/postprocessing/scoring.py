"""Predictions of one image → masks with final probabilities: ensemble, void and COAT in order."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovrcoat.postprocessing.coat import adjust_void, clip_confidence
from ovrcoat.postprocessing.ensemble import ensemble
from ovrcoat.postprocessing.stability import stability
from ovrcoat.structures import MaskPredictions, ScoredMasks

PROBABILITY_FLOOR = 1e-8  # the released code keeps log(p + 1e-8) and takes the softmax of it again


def score_masks(
    predictions: MaskPredictions,
    image: int,
    *,
    seen: Bool[Tensor, " category"],
    alpha: float,
    beta: float,
    trust: float | Literal["adaptive"],
    ensemble_on_valid_mask: bool,
) -> ScoredMasks:
    """Score the masks of the image at place `image` in the batch.

    `seen` covers the whole category axis, background classes too. The other values are those of
    `InferenceConfig`; `trust` is COAT's γ, "adaptive" each mask's own stability. Everything but the masks is
    computed in float32.
    """
    in_vocab_logits = predictions.in_vocab_logits[image].float()
    out_vocab_logits = predictions.out_vocab_logits[image].float()
    void_logits = predictions.void_logits[image].float()
    # void's part of the softmax over categories and void
    void_probs = torch.sigmoid(void_logits - in_vocab_logits.logsumexp(-1))
    confidence = clip_confidence(out_vocab_logits)
    mask_logits = predictions.mask_logits[image]
    mask_trust = stability(mask_logits) if trust == "adaptive" else trust
    return ScoredMasks(
        mask_logits=mask_logits,
        category_probs=ensemble(
            in_vocab_logits,
            out_vocab_logits,
            seen=seen,
            alpha=alpha,
            beta=beta,
            valid_mask=predictions.valid_mask[image] if ensemble_on_valid_mask else None,
        ),
        objectness=1 - adjust_void(void_probs, confidence, trust=mask_trust),
        objectness_before=1 - void_probs,
        clip_confidence=confidence,
    )


def class_probs(scored: ScoredMasks) -> tuple[Float[Tensor, "query category"], Float[Tensor, " query"]]:
    """Class probabilities and void's, which together sum to one for each query."""
    categories = scored.category_probs * scored.objectness[:, None] + PROBABILITY_FLOOR
    void = 1 - scored.objectness + PROBABILITY_FLOOR
    total = categories.sum(-1) + void
    return categories / total[:, None], void / total
