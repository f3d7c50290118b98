"""OVR: the loss that trains CLIP's image encoder to classify mask regions (section 3.2 of the paper).

CLIP's features are computed once per image and pooled under every mask. No region is cropped and encoded
again.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.training.losses import UNNAMED, LossTerm, Targets
from ovrcoat.training.matcher import Assignment

# "logits": the formula of the paper. "probabilities": the released code, which passes probabilities to a
# cross-entropy that applies a softmax of its own. Its gradient is far weaker.
OvrForm = Literal["logits", "probabilities"]


def ovr_loss(
    clip_logits: Float[Tensor, "batch query category"],
    targets: Sequence[Targets],
    assignments: Sequence[Assignment],
    *,
    weight: float,
    form: OvrForm,
) -> LossTerm:
    """Mean cross-entropy between CLIP's classification of each matched mask and its target's category.

    Targets without a category are left out. A batch without any category gives zero, where the released code
    gives NaN.

    Args:
        clip_logits: CLIP's logits for the masks of the decoder's last prediction.
        targets: of each image.
        assignments: of each image, for the same prediction.
        weight: of the term.
        form: formula of the paper, or the one of the released code.
    """
    matched_logits, matched_categories = [], []
    for logits, target, pairs in zip(clip_logits, targets, assignments, strict=True):
        matched_logits.append(logits[pairs.queries])
        matched_categories.append(target.category_ids[pairs.targets])
    chosen, category_ids = torch.cat(matched_logits).float(), torch.cat(matched_categories)
    if form == "probabilities":
        chosen = chosen.softmax(dim=-1)
    loss = F.cross_entropy(chosen, category_ids, ignore_index=UNNAMED, reduction="sum")
    return LossTerm(loss[None], (category_ids != UNNAMED).sum()[None].float(), weight)
