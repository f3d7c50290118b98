"""Processing long sequences of tokens in tiles that fit a CPU's caches.

A layer that processes every token independently may process them tile by tile, with the same results. On a
CPU this avoids writing wide intermediate results to newly allocated memory, which takes nearly as much time
as the matrix products.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

# Of the widest intermediate result. On two cores with 32 MB of cache, 8 and 16 MB are equally fast and 4 MB
# is slower.
TILE_BYTES = 8 * 2**20
MIN_TILE_ROWS = 256  # fewer make the matrix products inefficient


def tiles(rows: int, *, width: int, like: Tensor) -> Iterator[slice]:
    """Split `rows` into slices whose widest intermediate result is small.

    There is a single slice where tiles do not help: on other devices, with gradients, in compiled code.

    Args:
        rows: number of rows to split.
        width: numbers per row of the widest intermediate result.
        like: a tensor with the dtype and device of that result.
    """
    step = max(rows, 1)
    if may_tile(like):
        step = max(MIN_TILE_ROWS, TILE_BYTES // (width * like.element_size()))
    return (slice(start, min(start + step, rows)) for start in range(0, max(rows, 1), step))


def may_tile(like: Tensor) -> bool:
    """Return whether this is inference on a CPU, neither compiled nor with gradients."""
    return like.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def apply_in_tiles(
    layer: Callable[[Tensor], Tensor], tokens: Float[Tensor, "batch token _"], *, width: int
) -> Float[Tensor, "batch token _"]:
    """Return `layer(tokens)`, computed tile by tile.

    Args:
        layer: processes each token independently.
        tokens: its input.
        width: numbers per token of the widest intermediate result.
    """
    slices = tiles(tokens.shape[1], width=width * len(tokens), like=tokens)
    outputs = [layer(tokens[:, tile]) for tile in slices]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
