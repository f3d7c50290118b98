"""Semantic post-processing: one category per pixel, from the class probabilities of all masks.

No mask is discarded, so COAT does not help: the default `trust` for semantic output is 0.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor

from ovrcoat.postprocessing.scoring import class_probs
from ovrcoat.postprocessing.segments import bboxes, make_segment
from ovrcoat.postprocessing.upsampling import ImageSizes, upsample_tiles
from ovrcoat.results.segment import Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category


def semantic_tiles(
    scored: ScoredMasks, sizes: ImageSizes, *, at_input_size: bool = False
) -> Iterator[tuple[slice, Float[Tensor, "category row column"]]]:
    """Yield (rows, sum over queries of class probability × mask probability) from top to bottom.

    With `at_input_size`, the sums are computed at the size of the network's input and then resized.
    """
    probs, _ = class_probs(scored)
    masks, categories = scored.mask_logits, probs.shape[1]
    weights = probs.T.to(masks.device)

    def votes(logits: Float[Tensor, "query row column"]) -> Float[Tensor, "category row column"]:
        return torch.tensordot(weights, logits.sigmoid_(), dims=1)

    if at_input_size:
        yield from upsample_tiles(masks, sizes, channels=categories, at_input_size=votes)
        return
    for rows, logits in upsample_tiles(masks, sizes, channels=categories):
        yield rows, votes(logits)


def semantic(
    scored: ScoredMasks,
    sizes: ImageSizes,
    *,
    categories: Sequence[Category],
    background: Sequence[Category] = (),
    at_input_size: bool = False,
) -> tuple[Int32[np.ndarray, "height width"], tuple[Segment, ...], Mapping[str, int]]:
    """Return the category map at `sizes.output`, its segments, and the pixels that background classes won.

    The map holds 0 for void, else the index in `categories` plus 1. There is one segment per category that is
    present. Its id is its value in the map, and its score is its mean share of the votes over its pixels.
    Objectness, confidence and alternatives are those of the query that contributes most to it. Pixels without
    votes, and pixels that a background class wins, are void. Background classes follow `categories` on the
    category axis. See `semantic_tiles` for `at_input_size`.
    """
    category_map = np.zeros(sizes.output, dtype=np.int32)
    if len(scored.mask_logits) == 0:
        return category_map, (), {}
    visible = len(categories)
    areas, shares = torch.zeros((2, visible + 1), dtype=torch.float64)
    won = torch.zeros(visible + len(background), dtype=torch.int64)
    for rows, votes in semantic_tiles(scored, sizes, at_input_size=at_input_size):
        best, winner = votes.max(0)
        share = (best / votes.sum(0)).nan_to_num().cpu().double()
        best, winner = best.cpu(), winner.cpu()
        values = (winner + 1).where((winner < visible) & (best > 0), 0)
        areas += torch.bincount(values.flatten(), minlength=visible + 1)
        shares += torch.bincount(values.flatten(), weights=share.flatten(), minlength=visible + 1)
        category_map[rows] = values.numpy()
        won += torch.bincount(winner[best > 0], minlength=len(won))[: len(won)]

    bbox_of = bboxes(category_map)
    probs, _ = class_probs(scored)
    mask_sizes = scored.mask_logits.float().sigmoid().sum((1, 2)).cpu()
    main_query = (probs * mask_sizes[:, None]).argmax(0)
    segments = tuple(
        make_segment(
            scored,
            int(main_query[id - 1]),
            id=id,
            category=categories[id - 1],
            categories=categories,
            score=float(shares[id] / areas[id]),
            region=(int(areas[id]), bbox),
        )
        for id, bbox in bbox_of.items()
    )
    names = (category.name for category in background)
    return category_map, segments, dict(zip(names, won[visible:].tolist(), strict=True))
