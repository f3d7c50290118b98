"""Linear layers; on a CPU in inference with their activation in the same call.

There oneDNN's product beats the one that `F.linear` takes by a tenth (bfloat16) to a fifth (float32), and the
activation is applied while a result is still in the cache. PyTorch has it as
`torch.ops.mkldnn._linear_pointwise`, which its own compiler emits; that name is private, so everything works
without it, too.
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
# In place where autograd allows it: what goes in is a fresh product.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda values: values,
    "relu": partial(F.relu, inplace=True),
    "gelu": F.gelu,
}
# From so many rows per input or output (whichever are more) on, laying out the weights for the product pays
# within the call: a few percent of the whole path, on two cores with AVX-512.
ROWS_TO_PACK = 1


def linear(
    rows: Float[Tensor, "*shape inputs"], layer: Any, *, activation: Activation = "none"
) -> Float[Tensor, "*shape outputs"]:
    """`activation(layer(rows))` of an `nn.Linear` (typed Any, for it comes out of a list of modules)."""
    return affine(rows, layer.weight, layer.bias, activation=activation)


def affine(
    rows: Float[Tensor, "*shape inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None,
    *,
    activation: Activation = "none",
) -> Float[Tensor, "*shape outputs"]:
    """`activation(rows @ weight.T + bias)`."""
    if _has_one_call(rows):
        return _one_call(rows, weight, bias, activation)
    return ACTIVATIONS[activation](F.linear(rows, weight, bias))


def prepared(
    layer: nn.Linear, *, like: Tensor, rows: int, activation: Activation = "none"
) -> Callable[[Tensor], Tensor]:
    """`linear` with this layer, for `rows` rows of the kind of `like` that come in pieces."""
    if not _has_one_call(like) or rows < ROWS_TO_PACK * max(layer.weight.shape):
        return lambda piece: linear(piece, layer, activation=activation)
    packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
    return lambda piece: _one_call(piece, packed, layer.bias, activation)


def _one_call(rows: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation) -> Any:
    formula = "none" if activation == "gelu" else ""  # exact, not by tanh
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, activation, [], formula)


def _has_one_call(rows: Tensor) -> bool:
    """Plain inference on a CPU whose oneDNN knows the dtype; autocast does not reach into the one call."""
    if not may_tile(rows) or torch.is_autocast_enabled("cpu"):
        return False
    return bool(torch.backends.mkldnn.enabled) and _knows(rows.dtype)


@cache
def _knows(dtype: torch.dtype) -> bool:
    """Whether the one call is there and right, by trying it; it is no public name of PyTorch's."""
    if dtype not in (torch.float32, torch.bfloat16) or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    rows, weight, bias = (torch.linspace(-1, 1, count).to(dtype) for count in (64, 128, 16))
    rows, weight = rows.view(8, 8), weight.view(16, 8)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 8)
        found = [_one_call(rows, one, bias, "gelu") for one in (weight, packed)]
    except (RuntimeError, TypeError, AttributeError, NotImplementedError):
        return False
    expected = F.gelu(F.linear(rows, weight, bias))
    return all(torch.allclose(one, expected, atol=0.05, rtol=0.05) for one in found)
