"""COAT: CLIP-conditioned objectness adjustment.

The decoder learned "void" from a closed vocabulary, so it throws away good masks of things that it never saw.
Where CLIP is certain about a mask, COAT lowers its void probability. Test time only; no weights.
"""

from jaxtyping import Float
from torch import Tensor


def clip_confidence(out_vocab_logits: Float[Tensor, "query category"]) -> Float[Tensor, " query"]:
    """CLIP's largest category probability for each mask (`p_cer` of the paper), 0..1."""
    return out_vocab_logits.softmax(-1).amax(-1)


def adjust_void(
    void_probs: Float[Tensor, " query"],
    clip_confidence: Float[Tensor, " query"],
    *,
    trust: float | Float[Tensor, " query"],
) -> Float[Tensor, " query"]:
    """Scale void down by `trust` (the paper's γ, 0..1, or one for each mask) times CLIP's confidence.

    0 is plain FC-CLIP.
    """
    return void_probs * (1 - trust * clip_confidence)
