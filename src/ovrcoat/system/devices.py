"""Devices and dtypes: names that users give, and the defaults for this machine."""

import warnings
from difflib import get_close_matches
from typing import get_args

import torch

from ovrcoat.choices import DtypeName
from ovrcoat.errors import ConfigError
from ovrcoat.system.process_lock import ProcessLock

_locks: dict[str, ProcessLock] = {}
_locks_guard = ProcessLock()


def list_devices() -> tuple[str, ...]:
    """Return the names of this machine's devices, the fastest first."""
    cuda = (
        [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return (*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu")


def choose_device(device: str | int | torch.device | None = None) -> torch.device:
    """Return a device: None is the fastest one, "cuda" is cuda:0, and 1 or "1" is cuda:1.

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
    """Return the dtype of masks and features for "float32", "bfloat16" or "auto".

    "auto" is bfloat16 where the hardware supports it (twice as fast, half the memory), and float32 where
    bfloat16 would be emulated. With it, results depend on the hardware. Emulated bfloat16 raises a
    `UserWarning`.

    Raises:
        ConfigError: `dtype` is none of these.
    """
    if dtype not in get_args(DtypeName):
        raise ConfigError(f"dtype is {dtype!r}, expected 'auto', 'float32' or 'bfloat16'")
    if dtype == "bfloat16" and device.type in {"cpu", "cuda"} and not has_bfloat16(device):
        warnings.warn(
            f"bfloat16 is emulated on {device}: it is many times slower than float32, and its results are "
            "slightly less accurate. Use float32 (the default) or auto.",
            UserWarning,
            stacklevel=3,
        )
    is_bfloat16 = dtype == "bfloat16" or (dtype == "auto" and has_bfloat16(device))
    return torch.bfloat16 if is_bfloat16 else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Return whether `device` multiplies bfloat16 in hardware, as far as PyTorch reports; False on MPS."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def device_lock(device: torch.device) -> ProcessLock:
    """Return the lock that allows one inference at a time on `device`, shared by all segmenters."""
    with _locks_guard:
        return _locks.setdefault(str(device), ProcessLock())
