"""Tensors that pass between the parts of the network, with their shapes.

Axis names used in the annotations:

- ``batch``: images of one padded size.
- ``query``: a slot of the mask decoder; each query predicts one mask.
- ``category``: an entry of the vocabulary, background classes included.
- ``name``: a name (synonym) of a category; a category has one or more.
- ``embedding``: the space that CLIP's image and text towers share.
- ``channel``, ``height``, ``width``.

Sizes are always (height, width) in pixels.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Size = tuple[int, int]  # (height, width) in pixels


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Images of one padded size, ready for an encoder.

    Attributes:
        pixels: RGB values in 0..255, padded at the right and bottom to a multiple of the encoder's stride.
        valid_sizes: size of each image without its padding. The encoder sets the padding to zero after its
            own normalization, as the released code does.
    """

    pixels: Float[Tensor, "batch 3 height width"]
    valid_sizes: tuple[Size, ...]

    @property
    def padded_size(self) -> Size:
        """Height and width of `pixels`."""
        return self.pixels.shape[-2], self.pixels.shape[-1]


@dataclass(frozen=True, slots=True)
class EncoderFeatures:
    """Output of an image encoder.

    Attributes:
        levels: feature maps at strides 4, 8, 16 and 32.
        clip_features: CLIP's last feature map, from which masks are embedded (`Encoder.embed_masks`).
    """

    levels: tuple[
        Float[Tensor, "batch _ _ _"],
        Float[Tensor, "batch _ _ _"],
        Float[Tensor, "batch _ _ _"],
        Float[Tensor, "batch _ _ _"],
    ]
    clip_features: Float[Tensor, "batch _ _ _"]


@dataclass(frozen=True, slots=True)
class PixelFeatures:
    """Output of the pixel decoder.

    Attributes:
        mask_features: per-pixel embeddings at stride 4; their product with a query gives its mask logits.
        multi_scale_features: keys and values of the mask decoder, at strides 32, 16 and 8.
    """

    mask_features: Float[Tensor, "batch channel height width"]
    multi_scale_features: tuple[Float[Tensor, "batch _ _ _"], ...]


@dataclass(frozen=True, slots=True)
class QuerySelection:
    """Queries that start at cells of a feature map (`model/query_selection.py`).

    Attributes:
        center_logits: of every cell, that the center of an object is there; in float32.
        cells: row-major index of each query's cell, ascending.
        features: of each query before the first decoder layer.
        positions: position embedding of each query.
    """

    center_logits: Float[Tensor, "batch height width"]
    cells: Int[Tensor, "batch query"]
    features: Float[Tensor, "batch query channel"]
    positions: Float[Tensor, "batch query channel"]

    def rows_and_columns(self) -> tuple[Int[Tensor, "batch query"], Int[Tensor, "batch query"]]:
        """Return row and column of each query's cell."""
        columns = self.center_logits.shape[-1]
        return torch.div(self.cells, columns, rounding_mode="floor"), self.cells % columns


@dataclass(frozen=True, slots=True)
class MaskExtents:
    """Where the masks of selected queries lie (`model/mask_extent.py`); in float32.

    Attributes:
        centers: row and column of the mean of a mask's pixels, in cells of the map of selected queries.
        log_deviations: natural logarithm of their standard deviations in both directions, in cells.
        cells: rows and columns of that map.
    """

    centers: Float[Tensor, "batch query 2"]
    log_deviations: Float[Tensor, "batch query 2"]
    cells: tuple[int, int]


@dataclass(frozen=True, slots=True)
class MaskProposals:
    """Class-agnostic masks. They do not depend on the vocabulary.

    Attributes:
        mask_logits: at stride 4; a pixel belongs to the mask where its logit is positive.
        embeddings: of each mask in text space, not normalized.
        query_embeddings: output of the mask decoder for each query, after its last norm. Similar objects of
            neighboring video frames have similar query embeddings.
        selection: the selected queries, which are the last ones. Only in training; None without any.
        extents: of the masks of the selected queries. Only in training; None if they have none.
    """

    mask_logits: Float[Tensor, "batch query height width"]
    embeddings: Float[Tensor, "batch query embedding"]
    query_embeddings: Float[Tensor, "batch query channel"]
    selection: QuerySelection | None = None
    extents: MaskExtents | None = None

    def select(self, index: int) -> "MaskProposals":
        """Return copies of the masks of one image, as a batch of one."""
        one = slice(index, index + 1)
        return MaskProposals(
            mask_logits=self.mask_logits[one].clone(),
            embeddings=self.embeddings[one].clone(),
            query_embeddings=self.query_embeddings[one].clone(),
        )


@dataclass(frozen=True, slots=True)
class MaskEmbeddings:
    """CLIP's own embedding of the image region under each mask.

    Attributes:
        embeddings: not normalized.
        valid_mask: False for a mask that covers no cell of CLIP's coarse feature map. The embedding of such
            a mask is meaningless.
    """

    embeddings: Float[Tensor, "batch query embedding"]
    valid_mask: Bool[Tensor, "batch query"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """Everything that depends on the pixels alone. Classifying it does not run the encoder again.

    Attributes:
        proposals: masks and their embeddings by the learned head.
        clip: embeddings of the same masks by CLIP.
        clip_features: CLIP's feature map, only if `keep_clip_features` was set. With it, further masks
            can be embedded without another pass of the encoder.
        transfer_features: what MAFT+'s transfer reads from the image; None for other families.
        objectness: of masks that no network proposed, 0..1. None: the in-vocabulary classifier decides it.
    """

    proposals: MaskProposals
    clip: MaskEmbeddings
    clip_features: Float[Tensor, "batch _ _ _"] | None = None
    transfer_features: Float[Tensor, "batch embedding _ _"] | None = None
    objectness: Float[Tensor, "batch query"] | None = None

    def select(self, index: int) -> "Encoding":
        """Return one image of the batch as a batch of one.

        Its tensors are copies, so that it does not keep the rest of the batch in memory.
        """
        if len(self.clip.embeddings) == 1:
            return self
        clip, one = self.clip, slice(index, index + 1)
        return Encoding(
            proposals=self.proposals.select(index),
            clip=MaskEmbeddings(clip.embeddings[one].clone(), clip.valid_mask[one].clone()),
            clip_features=None if self.clip_features is None else self.clip_features[one].clone(),
            transfer_features=None if self.transfer_features is None else self.transfer_features[one].clone(),
            objectness=None if self.objectness is None else self.objectness[one].clone(),
        )


@dataclass(frozen=True, slots=True)
class CategoryEmbeddings:
    """Text embeddings of a vocabulary: one vector per name and classifier.

    A vocabulary is embedded once, to unit vectors for both classifiers (see `shared`). MAFT+ then adapts
    CLIP's embeddings to each image: it replaces `out_vocab` alone.

    Attributes:
        in_vocab: embeddings for the learned (in-vocabulary) classifier.
        out_vocab: embeddings for CLIP's (out-of-vocabulary) classifier, for all images or for each image.
        category_of_embedding: index of the category that each name belongs to.
        category_count: number of categories.
    """

    in_vocab: Float[Tensor, "name in_vocab_embedding"]
    out_vocab: Float[Tensor, "*batch name embedding"]
    category_of_embedding: Int[Tensor, " name"]
    category_count: int

    @classmethod
    def shared(
        cls,
        embeddings: Float[Tensor, "name embedding"],
        category_of_embedding: Int[Tensor, " name"],
        category_count: int,
    ) -> "CategoryEmbeddings":
        """Use the same tensor, not copied, for both classifiers."""
        return cls(embeddings, embeddings, category_of_embedding, category_count)

    @property
    def device(self) -> torch.device:
        """Device of the embeddings."""
        return self.in_vocab.device


@dataclass(frozen=True, slots=True)
class MaskPredictions:
    """Masks with the logits of both classifiers.

    Attributes:
        mask_logits: as in `MaskProposals`.
        in_vocab_logits: of the learned classifier.
        void_logits: of the learned classifier for "no object". A tensor of its own, not a last column.
        out_vocab_logits: of CLIP's classifier.
        valid_mask: as in `MaskEmbeddings`.
        clip_confidence: the encoder's confidence in the best category, 0..1. None: the largest softmax
            probability of `out_vocab_logits`.
    """

    mask_logits: Float[Tensor, "batch query height width"]
    in_vocab_logits: Float[Tensor, "batch query category"]
    void_logits: Float[Tensor, "batch query"]
    out_vocab_logits: Float[Tensor, "batch query category"]
    valid_mask: Bool[Tensor, "batch query"]
    clip_confidence: Float[Tensor, "batch query"] | None = None


@dataclass(frozen=True, slots=True)
class ScoredMasks:
    """The masks of one image with their final probabilities: the input of post-processing.

    `mask_logits` are on the network's device. Everything else is on the CPU.

    Attributes:
        mask_logits: as in `MaskProposals`.
        category_probs: sum to one over the categories. Multiplied by `objectness`, they are the class
            probabilities of the paper.
        objectness: probability that the mask is an object, after COAT.
        objectness_before: the same without COAT.
        clip_confidence: CLIP's largest category probability (`p_cer` in the paper), or the confidence that
            the encoder defines instead.
        in_vocab_probs: category probabilities of the learned classifier, only if requested.
        out_vocab_probs: category probabilities of CLIP's classifier, only if requested.
        weights: factors of the scores where masks compete (`postprocessing/panoptic.py`). None: the scores
            alone count.
    """

    mask_logits: Float[Tensor, "query height width"]
    category_probs: Float[Tensor, "query category"]
    objectness: Float[Tensor, " query"]
    objectness_before: Float[Tensor, " query"]
    clip_confidence: Float[Tensor, " query"]
    in_vocab_probs: Float[Tensor, "query category"] | None = None
    out_vocab_probs: Float[Tensor, "query category"] | None = None
    weights: Float[Tensor, " query"] | None = None
