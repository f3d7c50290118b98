"""The image half compiled by `torch.compile`, on request: fewer and larger kernels.

What is compiled depends on the padded size of a photo: the first two sizes take minutes each, and after them
PyTorch compiles once more for any size. It keeps its work on disk for other processes
(`TORCHINDUCTOR_CACHE_DIR`).
"""

import os
import shutil
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from ovrcoat.errors import ConfigError
from ovrcoat.model.network import SegmentationNetwork


def compile_image_path(network: SegmentationNetwork) -> None:
    """Compile what turns pixels into masks, in place; weights and what is saved stay as they are.

    On a CPU the pixel decoder is left alone: gathering its samples beats what a compiler makes of sampling.

    Raises:
        ConfigError: this machine has no compiler for it.
    """
    if network.encoder.device.type == "cpu" and not _has_cpp_compiler():
        raise ConfigError(
            "to compile for a CPU PyTorch needs a C++ compiler, and found none. Install one (Debian and "
            "Ubuntu: apt install g++ python3-dev), or leave out --compile: everything works without"
        )
    parts: list[tuple[Any, str]] = [(network.encoder, "encode"), (network.mask_decoder, "forward")]
    if network.encoder.device.type != "cpu":
        parts.append((network.pixel_decoder, "forward"))
    for owner, name in parts:
        setattr(owner, name, _compiled(getattr(owner, name)))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` by `torch.compile`; its failure is one of this machine, and said so."""
    compiled = torch.compile(function)

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        from torch._dynamo.exc import TorchDynamoException

        try:
            return compiled(*arguments, **named)
        except TorchDynamoException as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                f"PyTorch cannot compile this model here ({reason}); leave out --compile"
            ) from error

    return call


def _has_cpp_compiler() -> bool:
    names = [os.environ.get("CXX"), "g++", "clang++", "cl"]  # those that PyTorch looks for
    return any(shutil.which(name) for name in names if name)
