"""Upsample mask logits from stride 4 to the size of the image, tile by tile, in bounded memory.

Two chained bilinear resizes without corner alignment, as in the released code: to the padded size, cropped to
the image inside it, then to the requested size. A tile holds some output rows of all queries. The result
equals the plain `F.interpolate` chain, bit by bit for any tile height.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.structures import Size

TILE_BYTES = 16 * 2**20  # of one tile in float32: fits into CPU caches; a few tiles exist at a time


@dataclass(frozen=True, slots=True)
class ImageSizes:
    """Sizes: `padded` of the network input, `valid` of the image inside it, `output` of the result."""

    padded: Size
    valid: Size
    output: Size


@dataclass(frozen=True, slots=True)
class _RowTaps:
    """For each row of a resized image: the two source rows, and the weight of the lower one. On the CPU."""

    above: Int[Tensor, " row"]
    below: Int[Tensor, " row"]
    weight: Float[Tensor, " row"]


@dataclass(frozen=True, slots=True, eq=False)
class AxisResize:
    """Both resizes along one axis as one matrix: resizing is linear and separable.

    Output position i is interpolated from the mask positions `starts[i]` to `stops[i]` - 1. Both lists are
    non-decreasing.
    """

    matrix: Float[Tensor, "output source"]  # its rows sum to one
    starts: list[int]
    stops: list[int]

    @classmethod
    def of(cls, source: int, sizes: ImageSizes, *, axis: int, device: torch.device) -> "AxisResize":
        """Create the matrix from `source` mask positions along `axis` (0 is vertical) to the output."""
        padded, valid, output = sizes.padded[axis], sizes.valid[axis], sizes.output[axis]
        fine, coarse = _row_taps(source, padded), _row_taps(valid, output)
        first = torch.zeros((padded, source))
        first.scatter_add_(1, fine.above[:, None], 1 - fine.weight[:, None])
        first.scatter_add_(1, fine.below[:, None], fine.weight[:, None])
        upper, lower = first[coarse.above], first[coarse.below]
        matrix = upper.mul_(1 - coarse.weight[:, None]).add_(lower.mul_(coarse.weight[:, None]))
        return cls(
            matrix=matrix.to(device),
            starts=fine.above[coarse.above].tolist(),
            stops=(fine.below[coarse.below] + 1).tolist(),
        )

    @property
    def reach(self) -> int:
        """Largest distance of a source position from the center of its output position's support."""
        return max(stop - start for start, stop in zip(self.starts, self.stops, strict=True)) // 2

    def support(self, outputs: slice) -> slice:
        """Return the mask positions that these output positions are interpolated from."""
        return slice(self.starts[outputs.start], self.stops[outputs.stop - 1])


def logits_at(
    mask_logits: Float[Tensor, "query height width"], sizes: ImageSizes, *, x: int, y: int
) -> Float[Tensor, " query"]:
    """Return the logits of all masks at one pixel of the output, in float32."""
    height, width = mask_logits.shape[1:]
    vertical = AxisResize.of(height, sizes, axis=0, device=mask_logits.device)
    horizontal = AxisResize.of(width, sizes, axis=1, device=mask_logits.device)
    rows, columns = vertical.support(slice(y, y + 1)), horizontal.support(slice(x, x + 1))
    source = mask_logits[:, rows, columns].float()
    return (source @ horizontal.matrix[x, columns]) @ vertical.matrix[y, rows]


def binary_mask(
    mask_logits: Float[Tensor, "height width"], sizes: ImageSizes
) -> Bool[np.ndarray, "output_height output_width"]:
    """Return the pixels of one mask, where its probability is at least 0.5, at the size of the output."""
    mask = np.empty(sizes.output, dtype=bool)
    for rows, logits in upsample_tiles(mask_logits[None], sizes):
        mask[rows] = (logits[0] >= 0).cpu().numpy()
    return mask


def upsample_tiles(
    mask_logits: Float[Tensor, "query height width"],
    sizes: ImageSizes,
    *,
    channels: int = 0,
    at_input_size: Callable[[Tensor], Tensor] = lambda logits: logits,
    tile_bytes: int = TILE_BYTES,
) -> Iterator[tuple[slice, Float[Tensor, "query row column"]]]:
    """Yield (rows, logits of these output rows for all queries in float32) from top to bottom.

    `channels` is the number of maps that the caller computes from a tile, if larger than the number of
    queries; tiles become smaller accordingly. `at_input_size` is applied to the logits between the two
    resizes, and must treat every pixel independently; its result is resized instead of the logits.
    """
    (output_height, output_width), (valid_height, valid_width) = sizes.output, sizes.valid
    shrink = -(-valid_height // output_height)  # image rows per output row
    row_bytes = 4 * max(len(mask_logits), channels, 1) * max(output_width, valid_width * shrink)
    tile_height = max(1, tile_bytes // row_bytes)
    to_padded, to_output = (
        _row_taps(mask_logits.shape[1], sizes.padded[0]),
        _row_taps(valid_height, output_height),
    )
    for start in range(0, output_height, tile_height):
        rows = slice(start, min(start + tile_height, output_height))
        needed = slice(int(to_output.above[rows.start]), int(to_output.below[rows.stop - 1]) + 1)
        valid = _resize(mask_logits, to_padded, rows=needed, width=sizes.padded[1])[..., :valid_width]
        shifted = _RowTaps(to_output.above - needed.start, to_output.below - needed.start, to_output.weight)
        yield rows, _resize(at_input_size(valid), shifted, rows=rows, width=output_width)


def _resize(
    maps: Float[Tensor, "query height width"], taps: _RowTaps, *, rows: slice, width: int
) -> Float[Tensor, "query row column"]:
    """Resize bilinearly to `width` columns and to the `rows` of the target that `taps` describe."""
    first, last = int(taps.above[rows.start]), int(taps.below[rows.stop - 1])
    above, below = ((lines[rows] - first).to(maps.device) for lines in (taps.above, taps.below))
    weight = taps.weight[rows, None].to(maps.device)
    source = maps[:, first : last + 1].float()
    if source.shape[-1] != width:
        source = F.interpolate(source, size=width, mode="linear", align_corners=False)
    # separate product and sum: a fused operation would round differently at tile borders
    upper = source.index_select(1, above).mul_(1 - weight)
    return upper.add_(source.index_select(1, below).mul_(weight))


def _row_taps(source: int, target: int) -> _RowTaps:
    """Return the source rows of a bilinear resize, with PyTorch's float32 arithmetic.

    PyTorch's compiled code rounds `scale * (row + 0.5) - 0.5` once; computing the product exactly in float64
    gives the same value. MPS does not support float64, so this has to run on the CPU.
    """
    scale = np.float32(source) / np.float32(target)
    exact = np.float64(scale) * (np.arange(target) + 0.5) - 0.5
    position = np.maximum(exact.astype(np.float32), np.float32(0))
    above = np.minimum(position.astype(np.int64), source - 1)
    return _RowTaps(
        above=torch.from_numpy(above),
        below=torch.from_numpy(np.minimum(above + 1, source - 1)),
        weight=torch.from_numpy(np.minimum(position - above.astype(np.float32), np.float32(1))),
    )
