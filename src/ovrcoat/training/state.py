"""What a training needs to go on exactly where it stopped: written whole or not at all; no pickle runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from ovrcoat.errors import TrainingError
from ovrcoat.system.atomic_write import write_atomically

FORMAT = 1
SHOWN = 4  # differences between settings that a message names


class RunningMean:
    """Exponential moving average of the trained parameters."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], *, decay: float) -> None:
        self.decay = decay
        self.values = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Move a little towards the parameters as they are now."""
        for name, parameter in parameters.items():
            self.values[name].lerp_(parameter.detach(), 1 - self.decay)

    @torch.no_grad()
    def copy_to(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Let the parameters be the mean."""
        for name, parameter in parameters.items():
            parameter.copy_(self.values[name])


def save_state(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    *,
    step: int,
    settings: Mapping[str, Any],
    mean: RunningMean | None,
) -> None:
    """Write the state after `step` steps; `settings` are those that a resumed run must share.

    Raises:
        OutputError: the place cannot be written.
    """
    state = {
        "format": FORMAT,
        "step": step,
        "settings": dict(settings),
        "parameters": {name: parameter.detach() for name, parameter in parameters.items()},
        "optimiser": optimiser.state_dict(),
        "mean": None if mean is None else mean.values,
    }
    write_atomically(path, lambda file: torch.save(state, file))


def resume(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    *,
    settings: Mapping[str, Any],
    mean: RunningMean | None,
) -> int:
    """Load the state in place, if there is one; returns the number of steps done.

    Raises:
        TrainingError: the file is damaged, or is of other settings or another network; says which.
    """
    if not path.is_file():
        return 0
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise TrainingError(f"{path} has format {state['format']!r}, this ovrcoat reads {FORMAT}")
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
        # torch's own words would advise to trust the file
        raise TrainingError(
            f"{path} cannot be read ({type(error).__name__}); delete it to start this stage anew"
        ) from error
    check_settings(path, state["settings"], settings)
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    if {name: value.shape for name, value in state["parameters"].items()} != shapes:
        raise TrainingError(f"{path} belongs to another network; choose another folder, or delete it")
    _copy(state["parameters"], parameters)
    optimiser.load_state_dict(state["optimiser"])
    if mean is not None:
        mean.values = {name: value.to(parameters[name].device) for name, value in state["mean"].items()}
    step: int = state["step"]
    return step


def check_settings(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the settings that `path` was made with to those of this run, where both have the key.

    A setting that an earlier version did not know is no difference as long as it is off.

    Raises:
        TrainingError: they differ; names the first few places.
    """
    shared = then.keys() & now.keys()
    old, new = (dict(_places({key: values[key] for key in shared})) for values in (then, now))
    different = sorted(
        key for key in old.keys() | new.keys() if old.get(key) != new.get(key) and (key in old or new[key])
    )
    if not different:
        return
    changes = ", ".join(f"{key}: {old.get(key)!r} then, {new.get(key)!r} now" for key in different[:SHOWN])
    more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
    raise TrainingError(
        f"{path} was made with other settings ({changes}{more}); use the old ones, or another output folder"
    )


def _places(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings and lists with their dotted places, such as schedule.steps."""
    if not isinstance(value, Mapping | list):
        yield place, value
        return
    for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _places(inner, f"{place}.{key}" if place else str(key))


@torch.no_grad()
def _copy(values: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])
