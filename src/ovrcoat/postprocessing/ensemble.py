"""Ensemble of the in-vocabulary classifier and CLIP: one category distribution per mask, without void."""

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
    """Return the geometric mean of both classifiers' probabilities, renormalized over the categories.

    CLIP has weight `alpha` for seen and `beta` for unseen categories (0..1). With `valid_mask`, masks that
    vanish on CLIP's feature map use the in-vocabulary classifier alone (`ensemble_on_valid_mask` of FC-CLIP's
    ResNets). Computed from log-probabilities, because a product of probabilities that underflow is NaN.
    """
    clip_weight = torch.where(seen, alpha, beta).to(in_vocab_logits.dtype)
    if valid_mask is not None:
        clip_weight = clip_weight * valid_mask[:, None]
    in_vocab, out_vocab = in_vocab_logits.log_softmax(-1), out_vocab_logits.log_softmax(-1)
    mixed = (1 - clip_weight) * in_vocab + clip_weight * out_vocab
    return mixed.softmax(-1)
