"""Long rows of tokens in pieces that stay in a CPU's caches.

A layer that treats every token by itself may take them piece by piece; the results are the same. On a CPU
that saves what else costs nearly as much as the matrix products: writing wide intermediate results
to fresh memory.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

# Of the widest intermediate result; on two cores with 32 MB of cache 8 and 16 MB are alike, 4 are slower.
TILE_BYTES = 8 * 2**20
LEAST_ROWS = 256  # fewer would starve the matrix products


def tiles(rows: int, *, width: int, like: Tensor) -> Iterator[slice]:
    """Slices of `rows` whose widest result, `width` numbers a row in the dtype of `like`, is small.

    One slice of all where pieces do not help: on other devices, with gradients, in compiled code.
    """
    step = max(LEAST_ROWS, TILE_BYTES // (width * like.element_size())) if may_tile(like) else max(rows, 1)
    return (slice(start, min(start + step, rows)) for start in range(0, max(rows, 1), step))


def may_tile(like: Tensor) -> bool:
    """Whether this is plain inference on a CPU."""
    return like.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def by_tiles(
    layer: Callable[[Tensor], Tensor], tokens: Float[Tensor, "batch token _"], *, width: int
) -> Float[Tensor, "batch token _"]:
    """`layer(tokens)`, for a layer that treats each token by itself; `width`: of its widest result."""
    rows = tiles(tokens.shape[1], width=width * len(tokens), like=tokens)
    pieces = [layer(tokens[:, piece]) for piece in rows]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
