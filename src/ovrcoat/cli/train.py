"""`ovrcoat train`."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ovrcoat.cli.startup import heavy_imports
from ovrcoat.cli.terminal import print_error, print_json, print_line, print_note

if TYPE_CHECKING:
    from ovrcoat.training.config import TrainConfig
    from ovrcoat.training.run import StageStatus

INTERRUPTED = 130  # exit status of a command that was stopped by Ctrl+C


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
    with heavy_imports():
        from ovrcoat.training.config_file import read_config
        from ovrcoat.training.run import train as run_training

    settings = read_config(config, set)
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
            print_note(_describe(status))

    try:
        path = run_training(settings, base=config.parent, progress=verbose, on_status=on_status)
    except KeyboardInterrupt:
        if is_main:
            print_error("interrupted; run the same command again to continue from the last saved state")
        return INTERRUPTED
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


def _describe(status: "StageStatus") -> str:
    """One line about a stage."""
    if status.finished:
        return f"{status.name}: completed by an earlier run"
    resumed = f", resumed after step {status.steps_done}" if status.steps_done else ""
    return (
        f"{status.name}: {status.steps} steps{resumed}; {status.images} images, {status.categories} classes, "
        f"{status.trained:,} of {status.parameters:,} parameters are trained"
    )
