"""Where a network runs: CUDA, then Apple's MPS, then the CPU, unless the user says otherwise."""

from difflib import get_close_matches

import torch

from ovrcoat.errors import ConfigError


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
