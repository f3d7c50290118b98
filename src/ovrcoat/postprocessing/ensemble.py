"""Ensemble: the learned classifier and CLIP agree on a category for each mask.

In: the logits of both classifiers for one image. Out: category probabilities, void left aside.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def ensemble(
    in_vocab_logits: Float[Tensor, "query category"],
    out_vocab_logits: Float[Tensor, "query category"],
    *,
    seen: Bool[Tensor, " category"],
    alpha: float,
    beta: float,
    valid_mask: Bool[Tensor, " query"] | None = None,
) -> Float[Tensor, "query category"]:
    """Geometric mean of both classifiers' probabilities, renormalised over the categories.

    CLIP weighs `alpha` for seen and `beta` for unseen categories (0..1). With `valid_mask` CLIP has no say for
    masks that vanish on its map (`ensemble_on_valid_mask` of FC-CLIP's ResNets).
    Done on log-probabilities: the product of probabilities that underflow to 0 would give NaN.
    """
    clip_weight = torch.where(seen, alpha, beta).to(in_vocab_logits.dtype)
    if valid_mask is not None:
        clip_weight = clip_weight * valid_mask[:, None]
    in_vocab, out_vocab = in_vocab_logits.log_softmax(-1), out_vocab_logits.log_softmax(-1)
    mixed = (1 - clip_weight) * in_vocab + clip_weight * out_vocab
    return mixed.softmax(-1)
