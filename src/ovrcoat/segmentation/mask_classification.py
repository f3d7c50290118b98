"""Classify masks that the user supplies, such as masks of another tool, by CLIP alone."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ovrcoat.model.mixed_network import AnyNetwork
from ovrcoat.postprocessing.scoring import mask_confidence
from ovrcoat.postprocessing.segments import top_categories
from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.structures import Encoding
from ovrcoat.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class MaskLabel:
    """Classification of one mask.

    Attributes:
        category: first name of the best category; None if a background class fits better.
        category_id: its `Category.id`; None likewise.
        score: probability of the best category, 0..1. Categories and background classes sum to one.
        clip_confidence: the largest probability, background classes included, 0..1 (`p_cer` in the paper),
            or the confidence that the encoder defines instead.
        top: the best categories with their probabilities, five at most.
    """

    category: str | None
    category_id: int | None
    score: float
    clip_confidence: float
    top: tuple[tuple[str, float], ...]


def label_masks(
    network: AnyNetwork, encoding: Encoding, *, prompt: SegmentationPrompt
) -> tuple[MaskLabel, ...]:
    """Return the label of each mask, by CLIP alone.

    Args:
        network: the network that encoded the image.
        encoding: of one image.
        prompt: the vocabulary.
    """
    predictions = network.classify(encoding, prompt.embeddings)
    probs = predictions.out_vocab_logits[0].softmax(-1).cpu()
    confidences = mask_confidence(predictions, 0).tolist()
    return tuple(
        _label(mask_probs, confidence, prompt.vocabulary)
        for mask_probs, confidence in zip(probs, confidences, strict=True)
    )


def _label(probs: Float[Tensor, " category"], confidence: float, vocabulary: Vocabulary) -> MaskLabel:
    """Return the label of a mask, given its probabilities over `vocabulary.all_categories`."""
    categories = vocabulary.categories
    top = top_categories(probs, categories)
    winner = int(probs.argmax())
    is_visible = winner < len(categories)
    return MaskLabel(
        category=categories[winner].name if is_visible else None,
        category_id=categories[winner].id if is_visible else None,
        score=top[0][1],
        clip_confidence=confidence,
        top=top,
    )
