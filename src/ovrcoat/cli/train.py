"""`ovrcoat train`."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_error, print_json, print_line, print_note
from ovrcoat.system.signals import exit_status

if TYPE_CHECKING:
    from ovrcoat.training.config import TrainConfig
    from ovrcoat.training.run import StageStatus

MAX_SHOWN = 10  # categories without a class name that are listed


def train(
    config: Path,
    /,
    *,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    output: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a model from a YAML configuration (see configs/ and docs/training.md).

    To continue an interrupted run, repeat the command: training resumes from the last saved state, with the
    same result. For several GPUs or machines, use `torchrun ... -m ovrcoat train ...` or
    `accelerate launch ... -m ovrcoat train ...`.

    Parameters
    ----------
    config
        The YAML file. Paths in it are relative to its folder, except `output`.
    set
        Change one setting: key=value, such as stages.0.schedule.steps=100. May be repeated.
    output
        Folder for logs and checkpoints. [default: that of the configuration]
    quiet
        No notes or progress; errors are still printed.
    json
        Print one JSON document to stdout instead of text.
    """
    from ovrcoat.training.config_file import read_config

    settings = read_config(config, set)  # before torch is loaded, so that mistakes are reported at once
    with heavy_imports():
        from ovrcoat.training.run import train as run_training

    if output is not None:
        settings = settings.model_copy(update={"output": str(output)})
    is_main = os.environ.get("RANK", "0") == "0"  # set by torchrun and accelerate
    verbose = is_main and not quiet
    if verbose:
        _print_plan(settings)
    stages: list[StageStatus] = []

    def on_status(status: "StageStatus") -> None:
        stages.append(status)
        if verbose:
            for line in _describe(status):
                print_note(line)

    try:
        path = run_training(settings, base=config.parent, progress=verbose, on_status=on_status)
    except KeyboardInterrupt as error:
        if is_main:
            print_error("interrupted; run the same command again to continue from the last saved state")
        return exit_status(error)
    if is_main and json:
        print_json({"checkpoint": str(path), "stages": [asdict(status) for status in stages]})
    elif verbose:
        print_line(f"→ {path}")
        print_line(f"try it: ovrcoat segment IMAGE --model {path}")
    return 0


def _print_plan(settings: "TrainConfig") -> None:
    """Print what will be trained, before anything is loaded."""
    source = settings.start.model or settings.start.clip
    stages = ", ".join(f"{stage.name} ({stage.schedule.steps} steps)" for stage in settings.stages)
    print_note(f"start: {source}; stages: {stages}; output: {settings.output}")


def _describe(status: "StageStatus") -> Iterator[str]:
    """Lines about a stage: what is trained, which categories have names, and warnings."""
    if status.finished:
        yield f"{status.name}: completed by an earlier run"
        return
    resumed = f", resumed after step {status.steps_done}" if status.steps_done else ""
    held_out = f" ({status.held_out} more held out)" if status.held_out else ""
    yield (
        f"{status.name}: {status.steps} steps{resumed}; {status.images} images{held_out}, "
        f"{status.categories} classes, {status.trained:,} of {status.parameters:,} parameters are trained"
    )
    others = [
        f"{name} ({count:,} segment{'' if count == 1 else 's'})"
        for name, count in list(status.unnamed.items())[:MAX_SHOWN]
    ]
    more = f" and {len(status.unnamed) - MAX_SHOWN} more" if len(status.unnamed) > MAX_SHOWN else ""
    without = f"; without: {', '.join(others)}{more}" if others else ""
    yield (
        f"{status.name}: {status.named_categories} of {status.data_categories} categories of the data have a "
        f"class name and text embedding{without}"
    )
    for issue in status.issues:
        yield f"{issue.severity}: {issue}"
