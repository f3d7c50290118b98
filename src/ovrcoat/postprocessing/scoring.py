"""Score masks: ensemble, void and COAT, from the predictions of one image to final probabilities."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ovrcoat.postprocessing.coat import adjust_void, clip_confidence
from ovrcoat.postprocessing.ensemble import ensemble
from ovrcoat.postprocessing.stability import stability
from ovrcoat.structures import MaskPredictions, ScoredMasks

PROBABILITY_FLOOR = 1e-8  # the released code stores log(p + 1e-8) and applies softmax to it again


def score_masks(
    predictions: MaskPredictions,
    image: int,
    *,
    seen: Bool[Tensor, " category"],
    alpha: float,
    beta: float,
    trust: float | Literal["adaptive"] | Float[Tensor, " query"],
    ensemble_on_valid_mask: bool,
    keep_classifier_probs: bool = False,
) -> ScoredMasks:
    """Score the masks of one image of the batch.

    Args:
        predictions: logits of both classifiers for the whole batch.
        image: index of the image in the batch.
        seen: which categories are seen, for the whole category axis, background classes included.
        alpha: CLIP's weight in the ensemble for seen categories, 0..1.
        beta: CLIP's weight for unseen categories, 0..1.
        trust: COAT's γ, 0..1, one for each mask, or "adaptive" for each mask's own stability.
        ensemble_on_valid_mask: see `ensemble`.
        keep_classifier_probs: also return the category probabilities of each classifier.

    Returns:
        The masks with probabilities in float32, on the CPU: all later decisions about masks are made there.
        Mask logits keep their dtype and device.
    """
    in_vocab_logits = predictions.in_vocab_logits[image].float()
    out_vocab_logits = predictions.out_vocab_logits[image].float()
    void_logits = predictions.void_logits[image].float()
    # the share of void in the softmax over categories and void
    void_probs = torch.sigmoid(void_logits - in_vocab_logits.logsumexp(-1))
    confidence = mask_confidence(predictions, image)
    mask_logits = predictions.mask_logits[image]
    mask_trust = stability(mask_logits) if isinstance(trust, str) else trust
    category_probs = ensemble(
        in_vocab_logits,
        out_vocab_logits,
        seen=seen,
        alpha=alpha,
        beta=beta,
        valid_mask=predictions.valid_mask[image] if ensemble_on_valid_mask else None,
    )
    objectness = 1 - adjust_void(void_probs, confidence, trust=mask_trust)
    return ScoredMasks(
        mask_logits=mask_logits,
        category_probs=category_probs.cpu(),
        objectness=objectness.cpu(),
        objectness_before=(1 - void_probs).cpu(),
        clip_confidence=confidence.cpu(),
        in_vocab_probs=in_vocab_logits.softmax(-1).cpu() if keep_classifier_probs else None,
        out_vocab_probs=out_vocab_logits.softmax(-1).cpu() if keep_classifier_probs else None,
    )


def mask_confidence(predictions: MaskPredictions, image: int) -> Float[Tensor, " query"]:
    """Return CLIP's confidence in each mask of one image, 0..1, as the encoder defines it."""
    if predictions.clip_confidence is None:
        return clip_confidence(predictions.out_vocab_logits[image].float())
    return predictions.clip_confidence[image].float()


def class_probs(scored: ScoredMasks) -> tuple[Float[Tensor, "query category"], Float[Tensor, " query"]]:
    """Return the class probabilities and the void probability of each query; together they sum to one."""
    categories = scored.category_probs * scored.objectness[:, None] + PROBABILITY_FLOOR
    void = 1 - scored.objectness + PROBABILITY_FLOOR
    total = categories.sum(-1) + void
    return categories / total[:, None], void / total
