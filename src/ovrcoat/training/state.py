"""Training state for exact resuming. Files are written atomically, and loading executes no pickled code."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ovrcoat.checkpoints.file_kinds import check_unpacked_size
from ovrcoat.errors import OvrcoatError, TrainingError
from ovrcoat.system.atomic_write import write_atomically
from ovrcoat.system.input_files import WEIGHTS, check_input
from ovrcoat.training.config_file import with_current_keys
from ovrcoat.training.sharding import shard_like, shard_optimizer_state, whole_on_main

FORMAT = 2
DATASETS = "datasets"  # key of the settings with the content of the datasets, see `StageData.content`
# Settings that may differ: where the datasets are, if their content is known, and what happens on an error.
PLACES = re.compile(r"data\.\d+\.(path|root)")
WITHOUT_EFFECT = re.compile(r"data\.\d+\.on_error")
MAX_SHOWN = 4  # differences between settings that a message lists


class ParameterAverage:
    """Exponential moving average (EMA) of the trained parameters."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], *, decay: float) -> None:
        self.decay = decay
        self.values = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Add the current parameters to the average."""
        for name, parameter in parameters.items():
            self.values[name].lerp_(parameter.detach(), 1 - self.decay)

    @torch.no_grad()
    def copy_to(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Replace the parameters by the average."""
        _copy(self.values, parameters)


def save_state(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    settings: Mapping[str, Any],
    average: ParameterAverage | None,
    is_main: bool = True,
) -> None:
    """Write the training state. If it is sharded, all processes have to call this.

    Args:
        path: the file; replaced atomically.
        parameters: the trained parameters by name.
        optimizer: its state is saved.
        step: number of completed steps.
        settings: settings that a resumed run must share.
        average: moving average of the parameters, if there is one.
        is_main: whether this is the main process, the only one that writes.

    Raises:
        OutputError: the file cannot be written.
    """
    state = whole_on_main(
        {
            "parameters": dict(parameters),
            "optimizer": optimizer.state_dict(),
            "average": None if average is None else average.values,
        },
        is_main=is_main,
    )
    if not is_main:
        return
    state |= {
        "format": FORMAT,
        "step": step,
        "settings": dict(settings),
    }
    write_atomically(path, lambda file: torch.save(state, file), durable=True)


def resume(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    settings: Mapping[str, Any],
    average: ParameterAverage | None,
    accept_changed_data: bool = False,
) -> int:
    """Load a training state in place, if the file exists.

    Args:
        path: the file that `save_state` wrote.
        parameters: overwritten by the saved values.
        optimizer: its state is overwritten.
        settings: settings of this run, which must equal the saved ones.
        average: overwritten, if given.
        accept_changed_data: see `check_settings`.

    Returns:
        The number of completed steps; 0 without a file.

    Raises:
        TrainingError: the file is damaged, or belongs to other settings or another network.
    """
    if not path.is_file():
        return 0
    try:
        check_input(path, WEIGHTS)
        check_unpacked_size(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise TrainingError(f"{path} has format {state['format']!r}, this version reads {FORMAT}")
        check_settings(path, state["settings"], settings, accept_changed_data=accept_changed_data)
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        if {name: value.shape for name, value in state["parameters"].items()} != shapes:
            raise TrainingError(
                f"{path} belongs to another network; choose another output folder, or delete it"
            )
        _copy(state["parameters"], parameters)
        optimizer.load_state_dict(shard_optimizer_state(state["optimizer"], optimizer))
        if average is not None:
            saved = state["average"].items()
            average.values = {name: shard_like(value, parameters[name]) for name, value in saved}
        return int(state["step"])
    except (OvrcoatError, torch.OutOfMemoryError):  # the latter says nothing about the file
        raise
    except Exception as error:  # damaged files, and other contents, raise all kinds of errors
        # torch's own message would advise to load the file with weights_only=False, which runs its code
        raise TrainingError(
            f"{path} cannot be read ({type(error).__name__}); delete it to restart this stage"
        ) from error


def check_settings(
    path: Path,
    saved: Mapping[str, Any],
    current: Mapping[str, Any],
    *,
    accept_changed_data: bool = False,
) -> None:
    """Compare the settings that a file was made with to those of this run.

    Only top-level keys that both have are compared. A setting that only one of them knows, because another
    version of the package wrote the file, is no difference as long as it is off.

    Datasets are compared by content. If both settings state it, the paths may differ: the data was moved.

    Args:
        path: the file, for the message.
        saved: its settings. Keys that were renamed since are recognized.
        current: settings of this run.
        accept_changed_data: do not compare the content of datasets.

    Raises:
        TrainingError: they differ; the message lists the first differences.
    """
    saved = with_current_keys(saved)
    shared = (saved.keys() & current.keys()) - {DATASETS}
    old, new = (dict(_flatten({key: values[key] for key in shared})) for values in (saved, current))
    has_content = DATASETS in saved and DATASETS in current
    different = sorted(
        key
        for key in old.keys() | new.keys()
        if old.get(key) != new.get(key)
        and ((key in old and key in new) or old.get(key) or new.get(key))
        and not WITHOUT_EFFECT.fullmatch(key)
        and not (has_content and PLACES.fullmatch(key))
    )
    if different:
        changes = ", ".join(
            f"{key}: {old.get(key)!r} then, {new.get(key)!r} now" for key in different[:MAX_SHOWN]
        )
        more = f" and {len(different) - MAX_SHOWN} more" if len(different) > MAX_SHOWN else ""
        raise TrainingError(
            f"{path} was made with other settings ({changes}{more}); restore the old settings, or choose "
            "another output folder"
        )
    changed = _changed_datasets(saved.get(DATASETS), current.get(DATASETS))
    if changed and not accept_changed_data:
        raise TrainingError(
            f"{path}: the training data has changed since ({'; '.join(changed)}). Restore the data, choose "
            "another output folder to start over, or continue with the new data: "
            "--set accept_changed_data=true"
        )


def _changed_datasets(
    saved: Sequence[Mapping[str, Any]] | None, current: Sequence[Mapping[str, Any]] | None
) -> list[str]:
    """Describe each dataset whose content differs; none if one of the contents is unknown."""
    if saved is None or current is None:
        return []
    return [
        f"{new['name']}: "
        + (
            f"{old['images']} images then, {new['images']} now"
            if old["images"] != new["images"]
            else f"the labels or images of its {new['images']} images were changed"
        )
        for old, new in zip(saved, current, strict=False)
        if old["fingerprint"] != new["fingerprint"]
    ]


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings and lists with their dotted paths, such as schedule.steps."""
    if not isinstance(value, Mapping | list):
        yield path, value
        return
    for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _flatten(inner, f"{path}.{key}" if path else str(key))


@torch.no_grad()
def _copy(values: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(shard_like(values[name], parameter))
