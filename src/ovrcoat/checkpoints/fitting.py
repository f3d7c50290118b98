"""Strict assignment of weights: messages name every unknown, missing, misshapen or non-finite weight."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ovrcoat.errors import CheckpointError

NAMES_SHOWN = 20  # of each kind; with the wrong file there can be a thousand


def assign(
    network: nn.Module, state: Mapping[str, Tensor], *, source: str, names: Mapping[str, str] | None = None
) -> None:
    """Replace the weights of a network by `state`, converted to the network's dtypes.

    Args:
        network: may be on the meta device.
        state: weights by key.
        source: name of their file, for messages.
        names: our key → key in the file, where they differ, for messages.

    Raises:
        CheckpointError: a weight is unknown, missing, of another shape, NaN or infinite.
    """
    assign_parts(network, [dict(state)], source=source, names=names)


def assign_parts(
    network: nn.Module,
    parts: list[dict[str, Tensor]],
    *,
    source: str,
    names: Mapping[str, str] | None = None,
    copy: bool = False,
) -> None:
    """Like `assign`, one part after the other. Empties `parts`.

    The memory of a stored part is released after its conversion, before the next part is converted. With
    `copy`, weights that need no conversion are copied, too: the network then shares no memory with `parts`.

    Raises:
        CheckpointError: as for `assign`. If a weight is NaN or infinite, it has been assigned nevertheless.
    """
    state = {key: value for part in parts for key, value in part.items()}
    check_fit(network, state, source=source, names=names)
    # a buffer that is not in the file would remain uninitialized
    assert {name for name, _ in network.named_buffers()} <= state.keys()
    del state  # it would keep the parts in memory
    dtypes = {key: value.dtype for key, value in network.state_dict().items()}
    broken: list[str] = []
    while parts:
        broken += _assign_part(network, parts.pop(0), dtypes, copy=copy)
    _refuse(broken, source)


def _assign_part(
    network: nn.Module, part: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype], *, copy: bool
) -> list[str]:
    """Assign a part of the weights. Return the keys of those that are not finite."""
    converted = {
        key: value.to(dtypes[key] if value.is_floating_point() else value.dtype, copy=copy)
        for key, value in part.items()
    }
    found = network.load_state_dict(converted, strict=False, assign=True)
    assert not found.unexpected_keys  # `check_fit` has checked both; missing keys are in other parts
    return [key for key, value in converted.items() if not _is_finite(value)]


def check_fit(
    network: nn.Module, state: Mapping[str, Tensor], *, source: str, names: Mapping[str, str] | None = None
) -> None:
    """Compare keys and shapes with the network's.

    Raises:
        CheckpointError: weights are unknown, missing or misshapen; the message names them.
    """
    names = names or {}
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    unknown = [names.get(key, key) for key in state if key not in expected]
    missing = [key for key in expected if key not in state]
    misshaped = [
        f"{names.get(key, key)} is {tuple(value.shape)}, expected {expected[key]}"
        for key, value in state.items()
        if key in expected and tuple(value.shape) != expected[key]
    ]
    mismatches = [
        f"{len(found)} {what}: {listing(found)}"
        for what, found in (("unknown", unknown), ("missing", missing), ("of another shape", misshaped))
        if found
    ]
    if mismatches:
        raise CheckpointError(
            f"{source} does not match the network that it describes. Weights {'; '.join(mismatches)}. "
            "Use a file made for this network, or convert the original again with: ovrcoat convert"
        )


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Check that weights contain neither NaN nor infinity.

    Raises:
        CheckpointError: some do; the message names them.
    """
    _refuse([key for key, value in state.items() if not _is_finite(value)], source)


def _refuse(broken: Sequence[str], source: str) -> None:
    """Raise if there are non-finite weights."""
    if broken:
        raise CheckpointError(
            f"{source}: NaN or infinite values in {len(broken)} weights: {listing(broken)}. "
            "The training diverged, the file is damaged, or the dtype is too small; use another checkpoint"
        )


def listing(names: Sequence[str]) -> str:
    """Join names for a message; only the first twenty."""
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _is_finite(value: Tensor) -> bool:
    """Check that all values are finite, in one pass and without a copy, unlike `isfinite().all()`."""
    if value.is_meta or not value.is_floating_point() or value.numel() == 0:
        return True
    if torch.isfinite(value.sum(dtype=torch.float32)):  # never if one value is not; the fastest check
        return True
    # the sum of large values can overflow, so the extreme values decide
    low, high = torch.aminmax(value)  # NaN propagates to both
    return bool(torch.isfinite(low) & torch.isfinite(high))
