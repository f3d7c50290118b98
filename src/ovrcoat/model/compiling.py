"""Optional compilation of the image branch by `torch.compile`, for fewer and larger kernels.

PyTorch compiles for the padded size of the first image. At the first image of another size, it compiles once
more for all sizes. Batches of one and of several images are compiled separately. PyTorch caches the compiled
code on disk for other processes (`TORCHINDUCTOR_CACHE_DIR`).
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from ovrcoat.errors import ConfigError
from ovrcoat.model.network import SegmentationNetwork


def compile_image_branch(network: SegmentationNetwork) -> None:
    """Compile the parts of a network that turn pixels into masks, in place. The state dict does not change.

    A copy of a compiled network runs with the weights of the original: compile the copy again. On a CPU the
    pixel decoder is not compiled, because its gathering of samples is faster than compiled sampling.

    Raises:
        ConfigError: there is no suitable compiler on this machine.
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
    """Compile a function. A failure is reported as a property of this machine."""
    try:
        compiled = torch.compile(function)
    except RuntimeError as error:  # an unsupported version of Python
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
    """Return an error with a one-line reason: the first error in the compiler's output, if there is any."""
    lines = f"{error}\n{getattr(error, 'output', '')}".strip().splitlines() or [type(error).__name__]
    reason = next((line for line in lines if "error:" in line), lines[0]).strip()
    return ConfigError(f"PyTorch cannot compile this model on this machine ({reason}); omit --compile")


def _check_cpp_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ConfigError(
            "PyTorch needs a C++ compiler to compile for a CPU, and found none. Install one (Debian and "
            "Ubuntu: apt install g++ python3-dev), or omit --compile: everything works without it"
        ) from error
