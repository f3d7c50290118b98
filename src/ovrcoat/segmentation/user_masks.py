"""Masks that no network proposed, such as masks of another tool, as proposals like all others."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.choices import ClassifyBy
from ovrcoat.data.images import LoadedImage
from ovrcoat.data.mask_files import UserMasks
from ovrcoat.data.transforms import mask_coverage
from ovrcoat.errors import ImageError
from ovrcoat.model.encoders.encoder import Encoder
from ovrcoat.model.naming_network import NamingNetwork
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.segmentation.mask_crops import embed_crops
from ovrcoat.structures import Encoding, MaskEmbeddings, MaskProposals, Size

MASK_STRIDE = 4  # of the decoder's own masks, which encoders are made for
CERTAIN = 40.0  # logit of a pixel inside, minus that of one outside
MAX_LOGITS = 1 << 26  # stored per image, 256 MB; larger masks are stored at a fraction of their size


def check_masks(masks: Any, size: Size) -> Bool[np.ndarray, "mask height width"]:
    """Return the masks of an image of `size` as booleans; every value except 0 is inside.

    Raises:
        ImageError: the shape or the dtype is not supported, or a mask is empty.
    """
    array = np.asarray(masks.detach().cpu() if isinstance(masks, torch.Tensor) else masks)
    if array.ndim == 1 and array.size == 0:
        array = np.zeros((0, *size), dtype=bool)  # an empty list
    if array.ndim != 3 or array.shape[1:] != size:
        raise ImageError(
            f"masks have shape {array.shape}, expected (N, {size[0]}, {size[1]}): N masks at the size of the "
            "upright image. For a single mask pass mask[None], for one id of an id map (id_map == id)[None]"
        )
    if array.dtype.kind not in "bui":
        raise ImageError(f"masks have dtype {array.dtype}, expected bool or integers; threshold them first")
    inside = array.astype(bool, copy=False)
    empty = np.flatnonzero(~inside.any(axis=(1, 2))).tolist()
    if empty:
        raise ImageError(f"masks {empty} are empty; leave them out")
    return inside


def check_objectness(objectness: Any, count: int) -> Float[np.ndarray, " mask"]:
    """Return the objectness of `count` masks; 1 for None.

    Raises:
        ImageError: it is not one number from 0 to 1 per mask.
    """
    if objectness is None:
        return np.ones(count)
    array = np.asarray(objectness.detach().cpu() if isinstance(objectness, torch.Tensor) else objectness)
    if array.shape != (count,) or array.dtype.kind not in "biuf":
        raise ImageError(
            f"objectness has shape {array.shape} and dtype {array.dtype}, expected one number for each of "
            f"the {count} masks"
        )
    if not ((array >= 0) & (array <= 1)).all():  # also true for NaN
        raise ImageError("objectness must be from 0 to 1: give probabilities")
    return array.astype(np.float64)


def encode_user_masks(
    network: NamingNetwork,
    clip_features: Float[Tensor, "1 _ _ _"],
    user_masks: UserMasks,
    *,
    image: LoadedImage,
    clip_sizes: ImageSizes,
    classify_by: ClassifyBy,
) -> tuple[Encoding, ImageSizes]:
    """Return an encoding whose proposals are the given masks, and the sizes of these masks.

    Args:
        network: the network that names the masks.
        clip_features: its CLIP feature map of the image.
        user_masks: masks at the size of the image, none of them empty.
        image: the image.
        clip_sizes: `padded` and `valid` size of the image in the network's input.
        classify_by: see `InferenceConfig`.
    """
    encoder, masks = network.encoder, user_masks.masks
    device = encoder.device
    if len(masks) == 0:
        empty = torch.zeros(1, 0, encoder.embedding_dim, device=device)
        clip = MaskEmbeddings(empty, torch.zeros(1, 0, dtype=torch.bool, device=device))
    elif classify_by == "pooling":
        clip = embed_masks(encoder, clip_features, masks=masks, sizes=clip_sizes)
    else:
        clip = embed_crops(encoder, image.pixels, masks, classify_by=classify_by)
    mask_logits, sizes = _proposed(masks, size=image.pixels.shape[:2], device=device)
    unused = torch.zeros(1, len(masks), 0, device=device)
    encoding = Encoding(
        proposals=MaskProposals(mask_logits, embeddings=unused, query_embeddings=unused),
        clip=clip,
        clip_features=clip_features,
        transfer_features=network.transfer_features(clip_features),
        objectness=torch.from_numpy(user_masks.objectness).float().to(device)[None],
    )
    return encoding, sizes


def embed_masks(
    encoder: Encoder,
    clip_features: Float[Tensor, "1 _ _ _"],
    *,
    masks: Bool[np.ndarray, "mask height width"],
    sizes: ImageSizes,
) -> MaskEmbeddings:
    """Return CLIP's embedding, not normalized, of each mask.

    Args:
        encoder: the encoder that computed the features.
        clip_features: its CLIP feature map of one image.
        masks: masks at the size of the image, none of them empty.
        sizes: `padded` and `valid` size of the image in the network's input.
    """
    height, width = sizes.padded
    fine = _logits(masks, sizes, grid=(height // MASK_STRIDE, width // MASK_STRIDE))
    embedded = encoder.embed_masks(clip_features, fine.to(clip_features.device))
    if embedded.valid_mask.all():
        return embedded
    # masks that vanish on CLIP's coarse feature map use the cells that they cover most
    grid = (clip_features.shape[-2], clip_features.shape[-1])
    coarse = _logits(masks, sizes, grid=grid).to(clip_features.device)
    fallback = encoder.embed_masks(clip_features, coarse)
    embeddings = torch.where(embedded.valid_mask[..., None], embedded.embeddings, fallback.embeddings)
    return MaskEmbeddings(embeddings, torch.ones_like(embedded.valid_mask))


def _logits(
    masks: Bool[np.ndarray, "mask height width"], sizes: ImageSizes, *, grid: Size
) -> Float[Tensor, "1 mask _ _"]:
    """Return logits that are positive where a mask covers more than half of a cell of `grid`.

    If it covers no cell by half, the threshold is half of its largest coverage, which keeps at least one
    cell.
    """
    logits = []
    # one mask at a time: a hundred masks of a large image as floats would need too much memory
    for mask in masks:
        coverage = mask_coverage(mask, valid=sizes.valid, padded=sizes.padded, grid=grid)
        logits.append(coverage - min(0.5, float(coverage.max()) / 2))
    return torch.stack(logits)[None]


def _proposed(
    masks: Bool[np.ndarray, "mask height width"], *, size: Size, device: torch.device
) -> tuple[Float[Tensor, "1 mask _ _"], ImageSizes]:
    """Return masks as logits, and the sizes with which post-processing gives the masks back.

    The masks come back exactly, unless they are so many and so large that they must be stored at a fraction
    of their size.
    """
    height, width = size
    stride = 1
    while len(masks) * -(-height // stride) * -(-width // stride) > MAX_LOGITS:
        stride += 1
    grid = (-(-height // stride), -(-width // stride))
    padded = (grid[0] * stride, grid[1] * stride)
    logits = torch.empty(1, len(masks), *grid)
    for row, mask in zip(logits[0], masks, strict=True):
        inside = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
        inside = F.pad(inside, (0, padded[1] - width, 0, padded[0] - height))
        row[:] = (F.avg_pool2d(inside, stride)[0, 0] - 0.5) * CERTAIN
    return logits.to(device), ImageSizes(padded=padded, valid=size, output=size)
