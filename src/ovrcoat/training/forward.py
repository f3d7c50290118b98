"""The network's forward pass in training: all predictions of the decoder, CLIP's answers for its masks."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.model.text_classifier import category_logits
from ovrcoat.structures import CategoryEmbeddings, EncoderFeatures, ImageBatch
from ovrcoat.training.losses import LayerPrediction


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the losses need; `clip_logits` are those of the last prediction's masks, if asked for."""

    layers: tuple[LayerPrediction, ...]
    clip_logits: Float[Tensor, "batch query category"] | None
    features: EncoderFeatures


def predict(
    network: SegmentationNetwork, images: ImageBatch, categories: CategoryEmbeddings, *, with_clip: bool
) -> Predictions:
    """Predict with the training vocabulary; category logits come in float32, whatever autocast does inside.

    Gradients reach whatever requires them: a frozen encoder costs no memory for a backward pass.
    """
    features = network.encoder(images)
    proposals = network.mask_decoder(network.pixel_decoder(features), every_layer=True)
    layers = []
    for proposal in proposals:
        named, void = network.text_classifier(proposal.embeddings, categories)
        layers.append(LayerPrediction(proposal.mask_logits, named.float(), void.float()))
    clip_logits = None
    if with_clip:
        clip_logits = name_masks(network.encoder, features, proposals[-1].mask_logits, categories)
    return Predictions(tuple(layers), clip_logits, features)


def name_masks(
    encoder: Encoder,
    features: EncoderFeatures,
    mask_logits: Float[Tensor, "batch query height width"],
    categories: CategoryEmbeddings,
) -> Float[Tensor, "batch query category"]:
    """CLIP's answer for what lies under each mask, as logits in float32."""
    clip = encoder.embed_masks(features, mask_logits)
    with torch.autocast(mask_logits.device.type, enabled=False):  # a cosine times 100 needs float32
        return category_logits(clip.embeddings.float(), categories, logit_scale=encoder.logit_scale)
