"""Linear layers that, in inference on a CPU, apply their activation in the same operation.

oneDNN's fused operation is faster than `F.linear` by a tenth (bfloat16) to a fifth (float32), and applies the
activation while a result is still in the CPU cache. It is `torch.ops.mkldnn._linear_pointwise`, which
PyTorch's own compiler uses. It is private, so every function here falls back to `F.linear` where it does not
exist or does not work.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.model.tiles import may_tile

Activation = Literal["none", "relu", "gelu"]
# In place where autograd allows it: the input is a new tensor.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda values: values,
    "relu": partial(F.relu, inplace=True),
    "gelu": F.gelu,
}
# With at least this many rows per input or output channel (whichever are more), reordering the weights for
# the product saves time: a few percent of the image branch, measured on two cores with AVX-512.
MIN_ROWS_TO_REORDER = 1


def linear(
    rows: Float[Tensor, "*shape inputs"], layer: Any, *, activation: Activation = "none"
) -> Float[Tensor, "*shape outputs"]:
    """Return `activation(layer(rows))` for an `nn.Linear`, typed Any because module lists return Any."""
    return affine(rows, layer.weight, layer.bias, activation=activation)


def affine(
    rows: Float[Tensor, "*shape inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
    *,
    activation: Activation = "none",
) -> Float[Tensor, "*shape outputs"]:
    """Return `activation(rows @ weight.T + bias)`."""
    if _can_fuse(rows):
        return _fused(rows, weight, bias, activation)
    return ACTIVATIONS[activation](F.linear(rows, weight, bias))


def prepared(
    layer: nn.Linear, *, like: Tensor, rows: int, activation: Activation = "none"
) -> Callable[[Tensor], Tensor]:
    """Return a function that applies `linear` to tiles, with weights reordered once for all of them.

    Args:
        layer: the layer.
        like: a tensor with the dtype and device of the tiles.
        rows: total number of rows of all tiles.
        activation: applied to the output.
    """
    if not _can_fuse(like) or rows < MIN_ROWS_TO_REORDER * max(layer.weight.shape):
        return lambda tile: linear(tile, layer, activation=activation)
    reordered = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
    return lambda tile: _fused(tile, reordered, layer.bias, activation)


def _fused(rows: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Any:
    algorithm = "none" if activation == "gelu" else ""  # "none" is the exact GELU, without tanh
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, activation, [], algorithm)


def _can_fuse(rows: Tensor) -> bool:
    """Return whether the fused operation applies. It does not support autocast."""
    if not may_tile(rows) or torch.is_autocast_enabled("cpu"):
        return False
    return bool(torch.backends.mkldnn.enabled) and _is_fused_supported(rows.dtype)


@cache
def _is_fused_supported(dtype: torch.dtype) -> bool:
    """Try the private operation on a small example: it must exist and return the right result."""
    if dtype not in (torch.float32, torch.bfloat16) or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    rows, weight, bias = (torch.linspace(-1, 1, count).to(dtype) for count in (64, 128, 16))
    rows, weight = rows.view(8, 8), weight.view(16, 8)
    try:
        reordered = torch.ops.mkldnn._reorder_linear_weight(weight, 8)
        results = [_fused(rows, layout, bias, "gelu") for layout in (weight, reordered)]
    except (RuntimeError, TypeError, AttributeError, NotImplementedError):
        return False
    expected = F.gelu(F.linear(rows, weight, bias))
    return all(torch.allclose(result, expected, atol=0.05, rtol=0.05) for result in results)
