"""Everything that flows through the network, with its shapes.

Axes: batch, query (a decoder slot), category (an entry of the vocabulary), row (one name of a category),
embedding (the space that CLIP's image and text towers share), channel, height, width.
Sizes are always (height, width) in pixels.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

Size = tuple[int, int]  # (height, width) in pixels


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Images of one padded size, ready for an encoder.

    `pixels` are RGB in 0..255, padded right and bottom to a multiple of 32; what lies outside `valid_sizes`
    is padding, which the encoder sets to zero after its own normalisation (as the released code has it).
    """

    pixels: Float[Tensor, "batch 3 height width"]
    valid_sizes: tuple[Size, ...]

    @property
    def padded_size(self) -> Size:
        """Height and width of `pixels`."""
        return self.pixels.shape[-2], self.pixels.shape[-1]


@dataclass(frozen=True, slots=True)
class EncoderFeatures:
    """What an image encoder sees: one map per stride 4, 8, 16, 32, and CLIP's dense map for naming masks."""

    levels: tuple[
        Float[Tensor, "batch _ _ _"],
        Float[Tensor, "batch _ _ _"],
        Float[Tensor, "batch _ _ _"],
        Float[Tensor, "batch _ _ _"],
    ]
    dense: Float[Tensor, "batch _ _ _"]


@dataclass(frozen=True, slots=True)
class PixelFeatures:
    """The pixel decoder's output: per-pixel features at stride 4 and the decoder's memory, coarse first."""

    per_pixel: Float[Tensor, "batch channel height width"]
    memory: tuple[Float[Tensor, "batch _ _ _"], ...]  # strides 32, 16, 8


@dataclass(frozen=True, slots=True)
class MaskProposals:
    """Masks at stride 4 and their embeddings (not normalised) in text space; no word has been seen yet."""

    mask_logits: Float[Tensor, "batch query height width"]
    embeddings: Float[Tensor, "batch query embedding"]


@dataclass(frozen=True, slots=True)
class MaskEmbeddings:
    """CLIP's own embedding (not normalised) of what each mask covers.

    `valid_mask` is False for a mask that vanishes on CLIP's coarse map: its embedding means nothing.
    """

    embeddings: Float[Tensor, "batch query embedding"]
    valid_mask: Bool[Tensor, "batch query"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """All that depends on the pixels alone; any vocabulary can be asked for the price of a matrix product."""

    proposals: MaskProposals
    clip: MaskEmbeddings

    def one(self, row: int) -> "Encoding":
        """One image of the batch, in memory of its own, so that it does not keep its batch mates alive."""
        if len(self.clip.embeddings) == 1:
            return self
        masks, clip, place = self.proposals, self.clip, slice(row, row + 1)
        return Encoding(
            proposals=MaskProposals(masks.mask_logits[place].clone(), masks.embeddings[place].clone()),
            clip=MaskEmbeddings(clip.embeddings[place].clone(), clip.valid_mask[place].clone()),
        )


@dataclass(frozen=True, slots=True)
class CategoryEmbeddings:
    """A vocabulary in text space: one unit-length row per name; a category owns one or more rows."""

    rows: Float[Tensor, "row embedding"]
    category_of_row: Int[Tensor, " row"]
    category_count: int


@dataclass(frozen=True, slots=True)
class MaskPredictions:
    """Masks and what the two classifiers say of them. Void is its own tensor, never a last column."""

    mask_logits: Float[Tensor, "batch query height width"]
    in_vocab_logits: Float[Tensor, "batch query category"]
    void_logits: Float[Tensor, "batch query"]
    out_vocab_logits: Float[Tensor, "batch query category"]
    valid_mask: Bool[Tensor, "batch query"]


@dataclass(frozen=True, slots=True)
class ScoredMasks:
    """The masks of ONE image with final probabilities: what post-processing works on.

    `category_probs` sum to one over the categories; multiplied by `objectness` they are the class
    probabilities of the paper. `objectness` is after COAT, `objectness_before` without it; `clip_confidence` is
    CLIP's largest category probability (`p_cer` of the paper).
    """

    mask_logits: Float[Tensor, "query height width"]
    category_probs: Float[Tensor, "query category"]
    objectness: Float[Tensor, " query"]
    objectness_before: Float[Tensor, " query"]
    clip_confidence: Float[Tensor, " query"]
