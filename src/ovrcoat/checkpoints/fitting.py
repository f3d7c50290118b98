"""Weights into a network, strictly: every unknown, missing, mis-shaped or broken weight is named."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ovrcoat.errors import CheckpointError

NAMES_SHOWN = 20  # of each kind; a wrong file would otherwise list a thousand


def assign(
    network: nn.Module, state: Mapping[str, Tensor], *, source: str, names: Mapping[str, str] | None = None
) -> None:
    """Make `state` the weights of `network` (which may lie on the meta device), in the dtypes that it has.

    `source` is the file's name; `names` gives the key that a weight has in that file, where it differs.

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
) -> None:
    """`assign`, part after part: `parts` is emptied.

    So nothing needs what is converted as it was stored, and its memory is free before the next part takes
    some.

    Raises:
        CheckpointError: as for `assign`; with NaN or infinity the network is left with it.
    """
    state = {key: value for part in parts for key, value in part.items()}
    check_fit(network, state, source=source, names=names)
    # a buffer that no file holds would stay without values
    assert {name for name, _ in network.named_buffers()} <= state.keys()
    del state  # it would keep what the parts give up
    dtypes = {key: value.dtype for key, value in network.state_dict().items()}
    broken: list[str] = []
    while parts:
        broken += _assign_part(network, parts.pop(0), dtypes)
    _refuse(broken, source)


def _assign_part(
    network: nn.Module, part: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]
) -> list[str]:
    """Make `part` weights of `network`; which of them are not finite."""
    converted = {
        key: value.to(dtypes[key]) if value.is_floating_point() else value for key, value in part.items()
    }
    found = network.load_state_dict(converted, strict=False, assign=True)
    assert not found.unexpected_keys  # and what is missing comes with other parts: `check_fit` saw to both
    return [key for key, value in part.items() if not _is_finite(value)]


def check_fit(
    network: nn.Module, state: Mapping[str, Tensor], *, source: str, names: Mapping[str, str] | None = None
) -> None:
    """Compare keys and shapes with the network's.

    Raises:
        CheckpointError: it names what is unknown, missing or mis-shaped.
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
    complaints = [
        f"{len(found)} {what}: {listing(found)}"
        for what, found in (("unknown", unknown), ("missing", missing), ("of another shape", misshaped))
        if found
    ]
    if complaints:
        raise CheckpointError(
            f"{source} does not fit the network it describes. Weights {'; '.join(complaints)}. "
            "Take a file made for this network, or convert the original again with: ovrcoat convert"
        )


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Look for NaN and infinity.

    Raises:
        CheckpointError: it names the weights that hold some.
    """
    _refuse([key for key, value in state.items() if not _is_finite(value)], source)


def _refuse(broken: Sequence[str], source: str) -> None:
    """Name the weights that are not finite, if there are any."""
    if broken:
        raise CheckpointError(
            f"{source}: NaN or infinite values in {len(broken)} weights: {listing(broken)}. "
            "A training that diverged, a damaged file, or a type too small for them; use another checkpoint"
        )


def listing(names: Sequence[str]) -> str:
    """Names for a message, the first twenty of them."""
    shown = ", ".join(names[:NAMES_SHOWN])
    return shown if len(names) <= NAMES_SHOWN else f"{shown} and {len(names) - NAMES_SHOWN} more"


def _is_finite(value: Tensor) -> bool:
    """Both ends of the values are finite; one pass and no copy, unlike `isfinite().all()`."""
    if value.is_meta or not value.is_floating_point() or value.numel() == 0:
        return True
    low, high = torch.aminmax(value)  # NaN wins in both
    return bool(torch.isfinite(low) & torch.isfinite(high))
