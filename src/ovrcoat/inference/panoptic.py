"""Scored masks of one photo → a panoptic map: every pixel belongs to one segment or to void.

Keep the masks that are something, give each pixel to the mask with the largest score × mask probability, drop
masks that lost too much of themselves, merge stuff (Mask2Former's procedure).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor

from ovrcoat.inference.duplicates import distinct
from ovrcoat.inference.scoring import class_probs
from ovrcoat.inference.segments import boxes, describe
from ovrcoat.inference.upsampling import PhotoSizes, upsample_tiles
from ovrcoat.results.segment import Segment
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category

NOBODY = -1  # in a claims map: the pixel is void


@dataclass(frozen=True, slots=True)
class _Claims:
    """Who holds each pixel (a place among the kept queries, or NOBODY), and three areas per kept query."""

    holder: Int32[np.ndarray, "height width"]
    won: list[int]  # pixels where the query is the strongest, at whatever mask probability
    covered: list[int]  # pixels where its mask probability is at least 0.5
    held: list[int]  # both


def panoptic(
    scored: ScoredMasks,
    sizes: PhotoSizes,
    *,
    categories: Sequence[Category],
    object_mask_threshold: float,
    overlap_threshold: float,
    duplicate_iou: float | None = None,
) -> tuple[Int32[np.ndarray, "height width"], tuple[Segment, ...]]:
    """Return the id map at `sizes.output` (0 void, segments 1..n) and its segments in the order of their ids.

    `categories` are the visible ones, in the order of the category axis; what comes after them on that axis
    is hidden: such a mask competes for pixels like any other, and what it wins is void. With `duplicate_iou`
    (not in the paper) only the best of several masks that overlap that much takes part.
    """
    probs, void_probs = class_probs(scored)
    scores, labels = probs.max(-1)
    kept = ((scores >= void_probs) & (scores > object_mask_threshold)).nonzero()[:, 0]
    if duplicate_iou is not None:
        kept = kept[distinct(scored.mask_logits[kept], scores[kept], duplicate_iou=duplicate_iou)]
    if len(kept) == 0:
        return np.zeros(sizes.output, dtype=np.int32), ()

    claims = _claim_pixels(scored.mask_logits[kept], scores[kept], sizes=sizes)
    owners = _settle(
        claims, labels[kept].tolist(), categories=categories, overlap_threshold=overlap_threshold
    )

    id_of_place = np.zeros(len(kept) + 1, dtype=np.int32)  # its last entry serves NOBODY
    for id, places in enumerate(owners, start=1):
        id_of_place[places] = id
    id_map = id_of_place[claims.holder]

    box_of = boxes(id_map)
    segments = []
    for id, places in enumerate(owners, start=1):
        area = sum(claims.held[place] for place in places)
        largest = max(places, key=claims.held.__getitem__)  # of merged stuff, the largest part speaks
        query = int(kept[largest])
        segments.append(
            describe(
                scored,
                query,
                id=id,
                category=categories[int(labels[query])],
                categories=categories,
                score=float(scores[query]),
                region=(area, box_of[id]),
            )
        )
    return id_map, tuple(segments)


def _claim_pixels(
    mask_logits: Float[Tensor, "query height width"], scores: Float[Tensor, " query"], *, sizes: PhotoSizes
) -> _Claims:
    """Give each pixel to the query with the largest score × mask probability, and count."""
    count = len(scores)
    holder = np.empty(sizes.output, dtype=np.int32)
    won, covered, held = torch.zeros((3, count), dtype=torch.int64, device=scores.device)
    for rows, logits in upsample_tiles(mask_logits, sizes):
        mask_probs = logits.sigmoid_()
        inside = mask_probs >= 0.5
        covered += inside.sum((1, 2))
        winner = mask_probs.mul_(scores[:, None, None]).max(0).indices  # of equals the first
        holds = inside.gather(0, winner[None])[0]
        won += torch.bincount(winner.flatten(), minlength=count)
        held += torch.bincount(winner[holds], minlength=count)
        holder[rows] = winner.where(holds, NOBODY).cpu().numpy()
    return _Claims(holder=holder, won=won.tolist(), covered=covered.tolist(), held=held.tolist())


def _settle(
    claims: _Claims, labels: Sequence[int], *, categories: Sequence[Category], overlap_threshold: float
) -> list[list[int]]:
    """Decide which queries live. Entry i holds the places (among the kept) that make segment i + 1."""
    owners: list[list[int]] = []
    stuff: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        won, covered, held = claims.won[place], claims.covered[place], claims.held[place]
        if label >= len(categories) or 0 in (won, covered, held) or won / covered < overlap_threshold:
            continue
        if label in stuff:
            stuff[label].append(place)
            continue
        owners.append([place])
        if not categories[label].is_thing:
            stuff[label] = owners[-1]
    return owners
