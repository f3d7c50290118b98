"""Which mask holds each pixel of a panoptic map, and how many pixels each mask covers, wins and holds.

The map is cut into blocks. An interpolated logit lies between the least and the largest of the logits that it
is mixed from, so of most masks these tell enough: they cover a block wholly or not at all, and cannot win
a pixel in it. Only the others are computed at the map's size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from ovrcoat.postprocessing.segments import bbox_of
from ovrcoat.postprocessing.upsampling import AxisResize, ImageSizes
from ovrcoat.results.segment import BBox

NO_OWNER = -1  # in a map of holders: the pixel is void
BLOCKS = 26  # of a map: few masks meet in one, and there are not too many of them
LEAST_SIDE, MOST_SIDE = 128, 320  # of a block, in pixels: below, calls cost more than work; above, memory
ROUNDING = 1e-5  # relative: how far from its bounds a computed mask probability may lie


@dataclass(frozen=True, slots=True)
class PixelAssignment:
    """Who holds each pixel (a place among the masks, or NOBODY); areas and boxes per mask."""

    holder: Int32[np.ndarray, "height width"]
    won: list[int]  # pixels where the mask is the strongest, at whatever mask probability
    covered: list[int]  # pixels where its mask probability is at least 0.5
    held: list[int]  # both
    bboxes: list[BBox]  # of the pixels held; of none: (0, 0, 0, 0)


def assign_pixels(
    mask_logits: Float[Tensor, "query height width"], scores: Float[Tensor, " query"], *, sizes: ImageSizes
) -> PixelAssignment:
    """Give each pixel of a map of `sizes.output` to the mask with the largest score × mask probability."""
    (height, width), count, device = sizes.output, len(scores), scores.device
    holder = np.full(sizes.output, NO_OWNER, dtype=np.int32)
    if count == 0:
        return PixelAssignment(holder, [], [], [], [])
    mask_logits = mask_logits.float()
    down, across = (
        AxisResize.of(mask_logits.shape[axis + 1], sizes, axis=axis, device=device) for axis in (0, 1)
    )
    lead = _lead(mask_logits, scores, reach=max(down.reach, across.reach))
    won, covered, held = torch.zeros((3, count), dtype=torch.int64, device=device)
    in_row = torch.zeros((count, height), dtype=torch.bool, device=device)
    in_column = torch.zeros((count, width), dtype=torch.bool, device=device)
    side = float(min(max(math.sqrt(height * width / BLOCKS), LEAST_SIDE), MOST_SIDE))
    for rows in _pieces(height, side):
        for columns in _pieces(width, side):
            cells = (slice(None), down.support(rows), across.support(columns))
            source = mask_logits[cells]
            least, most = source.flatten(1).aminmax(dim=1)
            covered += torch.where(least >= 0, (rows.stop - rows.start) * (columns.stop - columns.start), 0)
            may_win = lead[cells].amax((1, 2)) >= 0
            undecided = (least < 0) & (most >= 0)
            rivals, others = may_win.nonzero()[:, 0], (undecided & ~may_win).nonzero()[:, 0]

            upwards, sideways = down.matrix[rows, cells[1]], across.matrix[columns, cells[2]].T
            if len(others):
                covered[others] += _count(upwards @ (source[others] @ sideways) >= 0)
            mask_probs = (upwards @ (source[rivals] @ sideways)).sigmoid_()
            inside = mask_probs >= 0.5
            covered[rivals] += _count(inside).where(undecided[rivals], 0)
            winner = _first_of_largest(mask_probs.mul_(scores[rivals, None, None]))
            holds = inside.gather(0, winner[None])[0]
            won[rivals] += torch.bincount(winner.flatten(), minlength=len(rivals))
            counts = torch.bincount(winner[holds], minlength=len(rivals))
            held[rivals] += counts
            holders = counts.nonzero()[:, 0]
            held_by = holds & (winner == holders[:, None, None])
            in_row[rivals[holders], rows] |= held_by.any(2)
            in_column[rivals[holders], columns] |= held_by.any(1)
            holder[rows, columns] = rivals[winner].where(holds, NO_OWNER).cpu().numpy()
    bboxes = [bbox_of(*lines) for lines in zip(in_row.cpu().numpy(), in_column.cpu().numpy(), strict=True)]
    return PixelAssignment(holder, won.tolist(), covered.tolist(), held.tolist(), bboxes)


def _lead(
    mask_logits: Float[Tensor, "query height width"], scores: Float[Tensor, " query"], *, reach: int
) -> Float[Tensor, "query height width"]:
    """At 0 or above: the mask may win a pixel mixed from logits at most `reach` beside this place.

    It cannot if even its largest logit there is weaker than the least one of another mask.
    """
    factors = scores[:, None, None]
    least = _slide(mask_logits, torch.minimum, reach=reach)
    surely = least.sigmoid_().mul_(factors).amax(0) * (1 - ROUNDING)
    most = _slide(mask_logits, torch.maximum, reach=reach)
    return most.sigmoid_().mul_(factors).sub_(surely)


def _count(inside: Bool[Tensor, "query row column"]) -> Int64[Tensor, " query"]:
    """How many pixels are inside, per mask."""
    return inside.flatten(1).sum(dim=1)


def _first_of_largest(values: Float[Tensor, "query row column"]) -> Int64[Tensor, "row column"]:
    """Where along the first axis the largest value is, the first of equals; quicker than `max` tells it."""
    number = torch.arange(len(values), dtype=values.dtype, device=values.device)[:, None, None]
    return number.where(values == values.amax(0), len(values)).amin(0).long()


def _slide(
    maps: Float[Tensor, "query height width"], least_or_most: Callable[..., Tensor], *, reach: int
) -> Float[Tensor, "query height width"]:
    """The least or the largest value of the square around each place, `reach` to each side."""
    for axis in (1, 2):
        result = maps.clone()
        for shift in range(1, min(reach, maps.shape[axis] - 1) + 1):
            length = maps.shape[axis] - shift
            for start in (0, shift):
                part = result.narrow(axis, start, length)
                least_or_most(part, maps.narrow(axis, shift - start, length), out=part)
        maps = result
    return maps


def union(bboxes: Sequence[BBox]) -> BBox:
    """The least box around all of them."""
    left, top = min(bbox[0] for bbox in bboxes), min(bbox[1] for bbox in bboxes)
    right, bottom = max(bbox[0] + bbox[2] for bbox in bboxes), max(bbox[1] + bbox[3] for bbox in bboxes)
    return left, top, right - left, bottom - top


def _pieces(length: int, side: float) -> list[slice]:
    """About equal pieces of about `side`."""
    count = max(1, round(length / side))
    edges = [length * index // count for index in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
