"""Scored masks of one image → a category per pixel: every mask votes with its class probabilities.

Nothing is discarded here, so COAT does not help: callers use `trust` 0 unless asked otherwise.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor

from ovrcoat.postprocessing.scoring import class_probs
from ovrcoat.postprocessing.segments import bboxes, describe
from ovrcoat.postprocessing.upsampling import ImageSizes, upsample_tiles
from ovrcoat.results.segment import Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category


def semantic_tiles(
    scored: ScoredMasks, sizes: ImageSizes
) -> Iterator[tuple[slice, Float[Tensor, "category row column"]]]:
    """Yield (rows, Σ over queries of class probability × mask probability) from top to bottom."""
    probs, _ = class_probs(scored)
    for rows, logits in upsample_tiles(scored.mask_logits, sizes, channels=probs.shape[1]):
        yield rows, torch.tensordot(probs.T, logits.sigmoid_(), dims=1)


def semantic(
    scored: ScoredMasks, sizes: ImageSizes, *, categories: Sequence[Category]
) -> tuple[Int32[np.ndarray, "height width"], tuple[Segment, ...]]:
    """Return the category map at `sizes.output` (0 void, else place in `categories` + 1), and its segments.

    One segment per category that is present; its id is its value in the map, its score the mean share of the
    votes over its pixels. Objectness, certainty and alternatives are those of the query that votes most for
    it. Pixels where a hidden category (on the category axis after the visible ones) wins, or nobody votes,
    are void.
    """
    category_map = np.zeros(sizes.output, dtype=np.int32)
    if len(scored.mask_logits) == 0:
        return category_map, ()
    visible = len(categories)
    areas, shares = torch.zeros((2, visible + 1), dtype=torch.float64)
    for rows, votes in semantic_tiles(scored, sizes):
        best, winner = votes.max(0)
        values = (winner + 1).where((winner < visible) & (best > 0), 0).cpu()
        share = (best / votes.sum(0)).nan_to_num().cpu().double()
        areas += torch.bincount(values.flatten(), minlength=visible + 1)
        shares += torch.bincount(values.flatten(), weights=share.flatten(), minlength=visible + 1)
        category_map[rows] = values.numpy()

    bbox_of = bboxes(category_map)
    probs, _ = class_probs(scored)
    mask_sizes = scored.mask_logits.float().sigmoid().sum((1, 2))
    main_query = (probs * mask_sizes[:, None]).argmax(0)
    segments = tuple(
        describe(
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
    return category_map, segments
