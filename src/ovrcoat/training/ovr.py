"""OVR: the loss that teaches CLIP's image encoder to name what lies under a mask (the paper's section 3.2).

CLIP's features are computed once per image and pooled under every mask; nothing is cropped and encoded again.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.training.losses import UNNAMED, LossTerm, Targets
from ovrcoat.training.matcher import Assignment

# "logits": the paper's formula. "probabilities": what the released code computes, which hands probabilities
# to a cross-entropy that takes a softmax of its own; its gradient is far weaker.
OvrForm = Literal["logits", "probabilities"]


def ovr_loss(
    clip_logits: Float[Tensor, "batch query category"],
    targets: Sequence[Targets],
    assignments: Sequence[Assignment],
    *,
    weight: float,
    form: OvrForm,
) -> LossTerm:
    """Mean cross-entropy of CLIP's answer for the mask of each matched query, against its target's category.

    `assignments` are those of the last prediction. Targets without a name teach nothing here; a batch without
    named targets gives zero, not the released code's NaN.
    """
    answers, wanted = [], []
    for logits, target, pairs in zip(clip_logits, targets, assignments, strict=True):
        category_ids = target.category_ids[pairs.targets]
        named = category_ids != UNNAMED
        answers.append(logits[pairs.queries[named]])
        wanted.append(category_ids[named])
    chosen = torch.cat(answers).float()
    if form == "probabilities":
        chosen = chosen.softmax(dim=-1)
    loss = F.cross_entropy(chosen, torch.cat(wanted), reduction="sum")
    return LossTerm(loss[None], loss.new_full((1,), float(len(chosen))), weight)
