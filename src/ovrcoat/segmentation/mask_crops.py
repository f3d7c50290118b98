"""Classification by crops: each mask is cut out of the image, and CLIP embeds the crop like an image.

Earlier methods, such as OVSeg (CVPR 2023), name masks this way. It needs one pass of the encoder per mask,
where mask pooling needs one per image.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image

from ovrcoat.choices import ClassifyBy
from ovrcoat.data.transforms import batch_images
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.postprocessing.segments import bbox_of
from ovrcoat.structures import MaskEmbeddings

MARGIN = 0.1  # on each side of the bbox, as a share of its longer side
CROPS_AT_ONCE = 16  # limits memory


def embed_crops(
    encoder: Encoder,
    pixels: UInt8[np.ndarray, "height width 3"],
    masks: Iterable[Bool[np.ndarray, "height width"]],
    *,
    classify_by: ClassifyBy,
) -> MaskEmbeddings:
    """Return CLIP's embedding of the crop of each mask, as a batch of one image.

    Args:
        encoder: the encoder.
        pixels: the image, 0..255.
        masks: masks at the size of the image.
        classify_by: "crops" keeps what surrounds the mask, "masked-crops" replaces it by the encoder's mean
            color.

    Returns:
        Embeddings, not normalized. `valid_mask` is False for an empty mask.
    """
    valid: list[bool] = []
    waiting: list[UInt8[np.ndarray, "_ _ 3"]] = []
    embedded = []
    for mask in masks:
        valid.append(bool(mask.any()))
        if valid[-1]:
            waiting.append(_crop(encoder, pixels, mask, keep_background=classify_by == "crops"))
        if len(waiting) == CROPS_AT_ONCE:
            embedded.append(_embed(encoder, waiting))
            waiting = []
    if waiting:
        embedded.append(_embed(encoder, waiting))
    is_valid = torch.tensor(valid, dtype=torch.bool, device=encoder.device)
    embeddings = torch.zeros(len(valid), encoder.embedding_dim, device=encoder.device)
    if embedded:
        embeddings[is_valid] = torch.cat(embedded)
    return MaskEmbeddings(embeddings[None], is_valid[None])


def _crop(
    encoder: Encoder,
    pixels: UInt8[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"],
    *,
    keep_background: bool,
) -> UInt8[np.ndarray, "side side 3"]:
    """Cut a square around the mask, and resize it. Outside of the image it has the encoder's mean color."""
    x, y, width, height = bbox_of(np.asarray(mask.any(axis=1)), np.asarray(mask.any(axis=0)))
    side = max(width, height) + 2 * round(MARGIN * max(width, height))
    left, top = x + width // 2 - side // 2, y + height // 2 - side // 2
    rows = slice(max(0, top), max(0, top + side))
    columns = slice(max(0, left), max(0, left + side))
    inside = pixels[rows, columns]
    square = np.empty((side, side, 3), np.uint8)
    square[:] = np.round(encoder.mean)
    target = square[rows.start - top :, columns.start - left :][: inside.shape[0], : inside.shape[1]]
    np.copyto(target, inside, where=True if keep_background else mask[rows, columns, None])
    resized = Image.fromarray(square).resize((encoder.crop_side,) * 2, Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _embed(encoder: Encoder, crops: list[UInt8[np.ndarray, "_ _ 3"]]) -> torch.Tensor:
    """Embed whole crops: CLIP's own pooling is that of a mask that covers the image."""
    images = batch_images(crops, stride=encoder.stride, device=encoder.device)
    features = encoder(images).clip_features
    everything = torch.ones(len(crops), 1, *features.shape[-2:], device=encoder.device)
    return encoder.embed_masks(features, everything).embeddings[:, 0].float()
