"""Instance post-processing: the best (query, category) pairs of things; masks may overlap."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from ovrcoat.postprocessing.scoring import class_probs
from ovrcoat.postprocessing.segments import make_segment
from ovrcoat.postprocessing.upsampling import ImageSizes, upsample_tiles
from ovrcoat.results.mask import PackedMask
from ovrcoat.results.segment import Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category

AREA_FLOOR = 1e-6  # keeps the mean over an empty mask at 0 (the released code)


def instances(
    scored: ScoredMasks,
    sizes: ImageSizes,
    *,
    categories: Sequence[Category],
    limit: int,
    mask_value: Callable[[Tensor], Tensor] = torch.sigmoid,
    keep_empty: bool = False,
) -> tuple[tuple[Segment, ...], tuple[PackedMask, ...]]:
    """Return segments (ids 1..n, in descending order of score) and their masks at `sizes.output`.

    Args:
        scored: masks and probabilities of one image.
        sizes: the sizes of the padded input, of the image inside it, and of the output.
        categories: the vocabulary's categories; background classes follow them on the category axis.
        limit: number of best (query, category) pairs to consider. Pairs of stuff and of background classes
            count towards it and are dropped afterwards, as in the released code.
        mask_value: the score is the class probability times the mean of this function of the logits inside
            the mask. A pixel is inside where its logit exceeds 0.
        keep_empty: keep empty masks, with score 0 and area 0.
    """
    probs, _ = class_probs(scored)
    best = probs.flatten().topk(min(limit, probs.numel()))
    pairs = [
        (index // probs.shape[1], index % probs.shape[1], score)
        for index, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    pairs = [pair for pair in pairs if pair[1] < len(categories) and categories[pair[1]].is_thing]
    if not pairs:
        return (), ()
    queries = sorted({query for query, _, _ in pairs})
    means, bits = _binarize(scored.mask_logits[queries], sizes, mask_value=mask_value)
    masks = {
        query: PackedMask.pack(np.unpackbits(rows, axis=1, count=sizes.output[1]).view(bool))
        for query, rows in zip(queries, bits, strict=True)
    }
    mean_of = dict(zip(queries, means.tolist(), strict=True))
    scored_pairs = [
        (score * mean_of[query], query, category)
        for query, category, score in pairs
        if keep_empty or masks[query].area
    ]
    scored_pairs.sort(key=lambda entry: -entry[0])
    segments = tuple(
        make_segment(
            scored,
            query,
            id=id,
            category=categories[category],
            categories=categories,
            score=score,
            region=(masks[query].area, masks[query].bbox),
        )
        for id, (score, query, category) in enumerate(scored_pairs, start=1)
    )
    return segments, tuple(masks[query] for _, query, _ in scored_pairs)


def _binarize(
    mask_logits: Float[Tensor, "query height width"],
    sizes: ImageSizes,
    *,
    mask_value: Callable[[Tensor], Tensor],
) -> tuple[Float64[Tensor, " query"], UInt8[np.ndarray, "query row byte"]]:
    """Return the mean of `mask_value` inside each mask, and the masks at output size packed along rows."""
    count = len(mask_logits)
    height, width = sizes.output
    bits = np.empty((count, height, -(-width // 8)), dtype=np.uint8)  # one bit per pixel and mask
    areas, sums = torch.zeros((2, count), dtype=torch.float64)
    for rows, logits in upsample_tiles(mask_logits, sizes):
        inside = logits > 0
        areas += inside.sum((1, 2)).cpu()
        sums += (
            mask_value(logits).mul(inside).sum((1, 2)).cpu()
        )  # float64 on the CPU only: MPS does not support it
        bits[:, rows] = np.packbits(inside.cpu().numpy(), axis=2)
    return sums / (areas + AREA_FLOOR), bits
