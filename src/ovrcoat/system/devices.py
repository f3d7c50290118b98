"""Where a network runs, and in which numbers: the machine's best, unless the user says otherwise."""

from difflib import get_close_matches
from typing import Literal, get_args

import torch

from ovrcoat.errors import ConfigError

DtypeName = Literal["auto", "float32", "bfloat16"]


def list_devices() -> tuple[str, ...]:
    """Names of the devices of this machine, the best first."""
    cuda = (
        [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return (*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu")


def choose_device(device: str | int | torch.device | None = None) -> torch.device:
    """The device that is meant: None is the best one, "cuda" the first card, 1 or "1" the card cuda:1.

    Raises:
        ConfigError: this machine has no such device.
    """
    available = list_devices()
    if device is None:
        return torch.device(available[0])
    wanted = str(device).strip().lower()
    name = f"cuda:{wanted}" if wanted.isdecimal() else {"cuda": "cuda:0"}.get(wanted, wanted)
    if name not in available:
        close = get_close_matches(name, available, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"no device {str(device)!r} on this machine; available: {', '.join(available)}{hint}"
        )
    return torch.device(name)


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The numbers that masks and features are computed in: "float32", "bfloat16", or "auto".

    "auto" is bfloat16 where the machine computes in it (twice as fast, half the memory), and float32 where
    that would only be emulated.

    Raises:
        ConfigError: there is no such choice.
    """
    if dtype not in get_args(DtypeName):
        raise ConfigError(f"dtype is {dtype!r}, expected 'auto', 'float32' or 'bfloat16'")
    return (
        torch.bfloat16 if dtype == "bfloat16" or (dtype == "auto" and has_bfloat16(device)) else torch.float32
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bfloat16 in hardware, as far as PyTorch can tell; on MPS it cannot."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
