"""Forward pass in training: the predictions of all decoder layers, and CLIP's logits for the last masks."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import (
    CategoryEmbeddings,
    EncoderFeatures,
    ImageBatch,
    MaskExtents,
    QuerySelection,
)
from ovrcoat.training.losses import LayerPrediction


@dataclass(frozen=True, slots=True)
class Predictions:
    """Input of the losses.

    Attributes:
        layers: one prediction for each layer of the mask decoder.
        clip_logits: CLIP's logits for the masks of the last layer, only if requested.
        selection: the selected queries; None without any.
        extents: of the masks of the selected queries, for each layer; empty if they have none.
    """

    layers: tuple[LayerPrediction, ...]
    clip_logits: Float[Tensor, "batch query category"] | None
    selection: QuerySelection | None = None
    extents: tuple[MaskExtents, ...] = ()


def predict(
    network: SegmentationNetwork, images: ImageBatch, categories: CategoryEmbeddings, *, with_clip: bool
) -> Predictions:
    """Run the network on a batch.

    Category and void logits are float32, also under autocast. Gradients are computed only for parameters that
    require them, so a frozen encoder needs no memory for the backward pass.

    Args:
        network: prepared for a stage.
        images: the batch.
        categories: text embeddings of the training classes.
        with_clip: also compute CLIP's logits.
    """
    features = network.encoder(images)
    proposals = network.mask_decoder(network.pixel_decoder(features), every_layer=True)
    layers = []
    for proposal in proposals:
        in_vocab, void = network.text_classifier(proposal.embeddings, categories)
        layers.append(LayerPrediction(proposal.mask_logits, in_vocab.float(), void.float()))
    clip_logits = None
    if with_clip:
        clip_logits = classify_masks(network.encoder, features, proposals[-1].mask_logits, categories)
    extents = tuple(proposal.extents for proposal in proposals if proposal.extents is not None)
    return Predictions(tuple(layers), clip_logits, proposals[-1].selection, extents)


def classify_masks(
    encoder: Encoder,
    features: EncoderFeatures,
    mask_logits: Float[Tensor, "batch query height width"],
    categories: CategoryEmbeddings,
) -> Float[Tensor, "batch query category"]:
    """Return CLIP's logits for the region under each mask, in float32."""
    clip = encoder.embed_masks(features.clip_features, mask_logits)
    with torch.autocast(mask_logits.device.type, enabled=False):  # a cosine times 100 needs float32
        return encoder.classify(clip.embeddings.float(), categories)
