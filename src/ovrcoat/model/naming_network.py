"""A network that names masks: an encoder and what compares its mask embeddings with class names."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.similarity import NORM_FLOOR
from ovrcoat.model.text_transfer import TextTransfer, transfer_tokens
from ovrcoat.structures import CategoryEmbeddings, Encoding, MaskPredictions, MaskProposals


class NamingNetwork(nn.Module):
    """An encoder that names the masks of another source.

    Attributes:
        text_transfer: MAFT+'s transfer of the text embeddings; None for other models.
        compiled: whether `compiling.compile_image_branch` compiled the image branch.
    """

    compiled = False

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.text_transfer: TextTransfer | None = None

    @property
    def stride(self) -> int:
        """The sides of an image batch are multiples of it."""
        return self.encoder.stride

    @property
    def fits_published_sizes(self) -> bool:
        """Whether the network suits the published test resolutions; see `Encoder`."""
        return self.encoder.fits_published_sizes

    @property
    def image_dtype(self) -> torch.dtype:
        """Dtype of features, and of masks if the network proposes any."""
        return next(self.encoder.visual_trunk.parameters()).dtype

    def set_image_dtype(self, dtype: torch.dtype) -> None:
        """Compute features in `dtype`. The text tower and the classifier keep their dtype."""
        self.encoder.set_trunk_dtype(dtype)

    def embed(
        self,
        proposals: MaskProposals,
        clip_features: Float[Tensor, "batch _ _ _"],
        *,
        mask_logits: Float[Tensor, "batch query _ _"],
    ) -> Encoding:
        """Embed masks by CLIP.

        Args:
            proposals: masks, of this network or another one.
            clip_features: CLIP's feature map; it is kept in the result.
            mask_logits: the masks as seen by this network: at stride 4 of its input.
        """
        return Encoding(
            proposals=proposals,
            clip=self.encoder.embed_masks(clip_features, mask_logits),
            clip_features=clip_features,
            transfer_features=self.transfer_features(clip_features),
        )

    def transfer_features(
        self, clip_features: Float[Tensor, "batch _ _ _"]
    ) -> Float[Tensor, "batch embedding _ _"] | None:
        """Return what the text transfer reads from each image; None without a transfer."""
        if self.text_transfer is None:
            return None
        tokens = self.encoder.embed_features(transfer_tokens(clip_features))
        return torch.unflatten(tokens.mT, 2, clip_features.shape[-2:])

    def adapt(self, encoding: Encoding, categories: CategoryEmbeddings) -> CategoryEmbeddings:
        """Return the text embeddings with which CLIP classifies the masks of these images.

        They depend on the images only if the network has a text transfer. It costs little compared to the
        encoder.
        """
        if self.text_transfer is None:
            return categories
        assert encoding.transfer_features is not None  # `forward` computes them
        return replace(
            categories, out_vocab=self.text_transfer(categories.out_vocab, encoding.transfer_features)
        )

    def classify(
        self,
        encoding: Encoding,
        categories: CategoryEmbeddings,
        *,
        in_vocab_classifier: nn.Module | None = None,
    ) -> MaskPredictions:
        """Compute the logits of every mask for every category, by both classifiers.

        Args:
            encoding: of images.
            categories: text embeddings.
            in_vocab_classifier: that of the network that proposed the masks; not used for masks that bring
                an objectness of their own.
        """
        out_vocab_logits = self.encoder.classify(encoding.clip.embeddings, self.adapt(encoding, categories))
        if encoding.objectness is None:
            assert in_vocab_classifier is not None
            in_vocab_logits, void_logits = in_vocab_classifier(encoding.proposals.embeddings, categories)
        else:
            # No classifier knows these masks. With CLIP in its place, the ensemble is CLIP alone.
            in_vocab_logits = out_vocab_logits
            void_logits = out_vocab_logits.logsumexp(-1) - encoding.objectness.logit()
        return MaskPredictions(
            mask_logits=encoding.proposals.mask_logits,
            in_vocab_logits=in_vocab_logits,
            void_logits=void_logits,
            out_vocab_logits=out_vocab_logits,
            valid_mask=encoding.clip.valid_mask,
            clip_confidence=self.encoder.confidence(out_vocab_logits),
        )

    def embed_names(self, names: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "name embedding"]:
        """Return one unit vector per name: the mean over templates of the normalized text embeddings.

        Args:
            names: class names.
            templates: sentences with "{}" in place of the name.
        """
        texts = [template.replace("{}", name) for name in names for template in templates]
        features = F.normalize(self.encoder.embed_texts(texts), dim=-1, eps=NORM_FLOOR)
        means = torch.unflatten(features, 0, (len(names), len(templates))).mean(dim=1)
        return F.normalize(means, dim=-1, eps=NORM_FLOOR)
