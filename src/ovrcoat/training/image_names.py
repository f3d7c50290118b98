"""Names of whole pictures: the OVR loss with the whole image as the mask, among the names of all such photos.

What the encoder knows of many words stays alive while it learns the masks of a few.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.structures import CategoryEmbeddings, EncoderFeatures, Size
from ovrcoat.training.forward import name_masks
from ovrcoat.training.losses import UNNAMED, LossTerm

STRIDE = 4  # of masks


def image_name_loss(
    encoder: Encoder,
    features: EncoderFeatures,
    *,
    valid_sizes: Sequence[Size],
    name_numbers: Int[Tensor, " batch"],
    names: CategoryEmbeddings,
    weight: float,
) -> LossTerm:
    """Mean cross-entropy of CLIP's answer for every whole image that has a name, against that name.

    A batch without named images gives zero.
    """
    images = whole_images(valid_sizes, like=features.levels[0])
    logits = name_masks(encoder, features, images, names)[:, 0]
    named = name_numbers != UNNAMED
    loss = F.cross_entropy(logits[named], name_numbers[named], reduction="sum")
    return LossTerm(loss[None], named.sum()[None].float(), weight)


def whole_images(
    valid_sizes: Sequence[Size], *, like: Float[Tensor, "batch _ height width"]
) -> Float[Tensor, "batch 1 height width"]:
    """Mask logits that leave out nothing but the padding."""
    masks = torch.full_like(like[:, :1], -1.0)
    for mask, (height, width) in zip(masks, valid_sizes, strict=True):
        mask[:, : -(-height // STRIDE), : -(-width // STRIDE)] = 1.0
    return masks
