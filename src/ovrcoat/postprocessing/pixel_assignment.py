"""Assign each pixel of a panoptic map to one mask, and count each mask's pixels.

The map is processed in blocks. An interpolated logit is bounded by the smallest and the largest logit that it
is interpolated from. These bounds show for most masks that they cover a block completely or not at all, and
that they cannot win any of its pixels. Only the remaining masks are computed at the size of the map.
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
from ovrcoat.structures import Size

NO_OWNER = -1  # in a map of owners: the pixel is void
BLOCKS = 26  # per map: few masks overlap in one block, and the number of calls stays small
MIN_SIDE, MAX_SIDE = 128, 320  # of a block, in pixels: limits call overhead and memory
ROUNDING = 1e-5  # relative rounding error of a computed mask probability with respect to its bounds


@dataclass(frozen=True, slots=True)
class PixelAssignment:
    """The owner of each pixel, and per mask its areas and its bbox.

    Attributes:
        owner: index of the mask that owns the pixel, or `NO_OWNER`.
        argmax_area: pixels where the mask has the largest score × mask probability of all masks.
        original_area: pixels where its mask probability is at least 0.5.
        final_area: pixels that meet both conditions: those that it owns.
        bboxes: bbox of the final pixels; (0, 0, 0, 0) if there are none.
    """

    owner: Int32[np.ndarray, "height width"]
    argmax_area: list[int]
    original_area: list[int]
    final_area: list[int]
    bboxes: list[BBox]


def assign_pixels(
    mask_logits: Float[Tensor, "query height width"], scores: Float[Tensor, " query"], *, sizes: ImageSizes
) -> PixelAssignment:
    """Assign each pixel of a map of `sizes.output` to the mask with the largest score × mask probability.

    The computation takes place on the device of the mask logits. `scores` may be on the CPU.
    """
    (height, width), count, device = sizes.output, len(scores), mask_logits.device
    scores = scores.to(device)
    owner = np.full(sizes.output, NO_OWNER, dtype=np.int32)
    if count == 0:
        return PixelAssignment(owner, [], [], [], [])
    mask_logits = mask_logits.float()
    vertical, horizontal = (
        AxisResize.of(mask_logits.shape[axis + 1], sizes, axis=axis, device=device) for axis in (0, 1)
    )
    margin = _margin(mask_logits, scores, reach=max(vertical.reach, horizontal.reach))
    argmax, original, final = torch.zeros((3, count), dtype=torch.int64, device=device)
    in_row = torch.zeros((count, height), dtype=torch.bool, device=device)
    in_column = torch.zeros((count, width), dtype=torch.bool, device=device)
    row_slices, column_slices = split_into_blocks(sizes.output)
    for rows in row_slices:
        for columns in column_slices:
            cells = (slice(None), vertical.support(rows), horizontal.support(columns))
            source = mask_logits[cells]
            lowest, highest = source.flatten(1).aminmax(dim=1)
            original += torch.where(lowest >= 0, (rows.stop - rows.start) * (columns.stop - columns.start), 0)
            may_win = margin[cells].amax((1, 2)) >= 0
            undecided = (lowest < 0) & (highest >= 0)
            rivals, others = may_win.nonzero()[:, 0], (undecided & ~may_win).nonzero()[:, 0]

            to_rows, to_columns = vertical.matrix[rows, cells[1]], horizontal.matrix[columns, cells[2]].T
            if len(others):
                original[others] += _count(to_rows @ (source[others] @ to_columns) >= 0)
            mask_probs = (to_rows @ (source[rivals] @ to_columns)).sigmoid_()
            inside = mask_probs >= 0.5
            original[rivals] += _count(inside).where(undecided[rivals], 0)
            winner = _argmax(mask_probs.mul_(scores[rivals, None, None]))
            argmax[rivals] += torch.bincount(winner.flatten(), minlength=len(rivals))
            owned_by_none = len(rivals)
            owner_here = winner.where(inside.gather(0, winner[None])[0], owned_by_none)
            counts = torch.bincount(owner_here.flatten(), minlength=owned_by_none + 1)[:-1]
            final[rivals] += counts
            owners = counts.nonzero()[:, 0]
            owned_by = owner_here == owners[:, None, None]
            in_row[rivals[owners], rows] |= owned_by.any(2)
            in_column[rivals[owners], columns] |= owned_by.any(1)
            masks = np.array([*rivals.tolist(), NO_OWNER], dtype=np.int32)
            owner[rows, columns] = masks[owner_here.cpu().numpy()]
    bboxes = [bbox_of(*lines) for lines in zip(in_row.cpu().numpy(), in_column.cpu().numpy(), strict=True)]
    return PixelAssignment(owner, argmax.tolist(), original.tolist(), final.tolist(), bboxes)


def _margin(
    mask_logits: Float[Tensor, "query height width"], scores: Float[Tensor, " query"], *, reach: int
) -> Float[Tensor, "query height width"]:
    """Return a value of 0 or more where a mask may win a pixel interpolated from logits within `reach`.

    It cannot win if even its largest logit there gives less than the smallest one of another mask.
    """
    factors = scores[:, None, None]
    least = _slide(mask_logits, torch.minimum, reach=reach)
    surely = least.sigmoid_().mul_(factors).amax(0) * (1 - ROUNDING)
    most = _slide(mask_logits, torch.maximum, reach=reach)
    return most.sigmoid_().mul_(factors).sub_(surely)


def _count(inside: Bool[Tensor, "query row column"]) -> Int64[Tensor, " query"]:
    """Return the number of pixels inside each mask."""
    return inside.flatten(1).sum(dim=1)


def _argmax(values: Float[Tensor, "query row column"]) -> Int64[Tensor, "row column"]:
    """Return the index of the largest value along the first axis, the first of equals; faster than `max`."""
    number = torch.arange(len(values), dtype=values.dtype, device=values.device)[:, None, None]
    return number.where(values == values.amax(0), len(values)).amin(0).long()


def _slide(
    maps: Float[Tensor, "query height width"], minimum_or_maximum: Callable[..., Tensor], *, reach: int
) -> Float[Tensor, "query height width"]:
    """Return the minimum or maximum over the square window of `reach` on each side of every position."""
    for axis in (1, 2):
        result = maps.clone()
        for shift in range(1, min(reach, maps.shape[axis] - 1) + 1):
            length = maps.shape[axis] - shift
            for start in (0, shift):
                part = result.narrow(axis, start, length)
                minimum_or_maximum(part, maps.narrow(axis, shift - start, length), out=part)
        maps = result
    return maps


def union_bbox(bboxes: Sequence[BBox]) -> BBox:
    """Return the smallest bbox that contains all `bboxes`."""
    left, top = min(bbox[0] for bbox in bboxes), min(bbox[1] for bbox in bboxes)
    right, bottom = max(bbox[0] + bbox[2] for bbox in bboxes), max(bbox[1] + bbox[3] for bbox in bboxes)
    return left, top, right - left, bottom - top


def split_into_blocks(size: Size) -> tuple[list[slice], list[slice]]:
    """Return the rows and the columns of the blocks in which a map of `size` is processed."""
    height, width = size
    side = float(min(max(math.sqrt(height * width / BLOCKS), MIN_SIDE), MAX_SIDE))
    return _split(height, side), _split(width, side)


def _split(length: int, side: float) -> list[slice]:
    """Split a length into nearly equal slices of about `side`."""
    count = max(1, round(length / side))
    edges = [length * index // count for index in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
