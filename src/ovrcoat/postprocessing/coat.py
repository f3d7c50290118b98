"""COAT: CLIP-conditioned objectness adjustment.

The mask decoder learns "void" from a closed vocabulary, so it rejects good masks of objects that it was never
trained on. Where CLIP is confident about a mask, COAT lowers its void probability. It runs at test time and
has no weights.
"""

from jaxtyping import Float
from torch import Tensor


def clip_confidence(out_vocab_logits: Float[Tensor, "query category"]) -> Float[Tensor, " query"]:
    """Return CLIP's largest category probability for each mask, 0..1 (`p_cer` in the paper)."""
    return out_vocab_logits.softmax(-1).amax(-1)


def adjust_void(
    void_probs: Float[Tensor, " query"],
    clip_confidence: Float[Tensor, " query"],
    *,
    trust: float | Float[Tensor, " query"],
) -> Float[Tensor, " query"]:
    """Scale the void probability by 1 - `trust` × `clip_confidence`.

    `trust` is the paper's γ, 0..1, for all masks or one value per mask; 0 is plain FC-CLIP.
    """
    return void_probs * (1 - trust * clip_confidence)
