"""The image half compiled by `torch.compile`, on request: fewer and larger kernels.

PyTorch compiles for the first image's padded size, and when another one comes once more for any size; batches
of one and of several are two cases. It keeps its work on disk for other processes
(`TORCHINDUCTOR_CACHE_DIR`).
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from ovrcoat.errors import ConfigError
from ovrcoat.model.network import SegmentationNetwork


def compile_image_path(network: SegmentationNetwork) -> None:
    """Compile what turns pixels into masks, in place; weights and what is saved stay as they are.

    A copy of the network would still run this one's weights: compile the copy anew.

    On a CPU the pixel decoder is left alone: gathering its samples beats what a compiler makes of sampling.

    Raises:
        ConfigError: this machine has no compiler for it.
    """
    if network.encoder.device.type == "cpu":
        _check_cpp_compiler()
    parts: list[tuple[Any, str]] = [(network.encoder, "encode"), (network.mask_decoder, "forward")]
    if network.encoder.device.type != "cpu":
        parts.append((network.pixel_decoder, "forward"))
    for owner, name in parts:
        setattr(owner, name, _compiled(getattr(owner, name)))
    network.compiled = True


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` by `torch.compile`; its failure is one of this machine, and said so."""
    try:
        compiled = torch.compile(function)
    except RuntimeError as error:  # a Python that it does not know
        raise _failure(error) from error

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        from torch._dynamo.exc import TorchDynamoException

        try:
            return compiled(*arguments, **named)
        except TorchDynamoException as error:
            raise _failure(getattr(error, "inner_exception", error)) from error

    return call


def _failure(error: Exception) -> ConfigError:
    """What went wrong in one line: of a compiler's own output the first error."""
    lines = f"{error}\n{getattr(error, 'output', '')}".strip().splitlines() or [type(error).__name__]
    reason = next((line for line in lines if "error:" in line), lines[0]).strip()
    return ConfigError(f"PyTorch cannot compile this model here ({reason}); leave out --compile")


def _check_cpp_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ConfigError(
            "to compile for a CPU PyTorch needs a C++ compiler, and found none. Install one (Debian and "
            "Ubuntu: apt install g++ python3-dev), or leave out --compile: everything works without"
        ) from error
