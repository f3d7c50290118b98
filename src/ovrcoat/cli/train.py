"""`ovrcoat train`: a configuration in, a checkpoint for `ovrcoat segment --model` out."""

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


def train(
    config: Path,
    /,
    *,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    output: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Train a model, stage after stage, as a YAML file says (see configs/ and docs/training.md).

    Interrupted, the same command goes on where the last state was saved, to the same result. Several GPUs or
    machines: `torchrun ... -m ovrcoat train ...` or `accelerate launch ... -m ovrcoat train ...`.

    Parameters
    ----------
    config
        The YAML file; paths in it are relative to its folder, except `output`.
    set
        Change one setting: key=value, such as stages.0.schedule.steps=100. May be repeated.
    output
        Folder for logs and checkpoints. [default: the file's own]
    quiet
        No notes or progress; errors are still told.
    json
        Print one JSON document to stdout instead of text.
    """
    with heavy_imports():
        from ovrcoat.training import run as recipe
        from ovrcoat.training.config import read_config

    settings = read_config(config, set)
    if output is not None:
        settings = settings.model_copy(update={"output": str(output)})
    is_main = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun or accelerate started
    speaks = is_main and not quiet
    if speaks:
        _tell_plan(settings)
    heard: list[StageStatus] = []

    def hear(news: "StageStatus") -> None:
        heard.append(news)
        if speaks:
            print_note(_line(news))

    try:
        path = recipe.train(settings, base=config.parent, progress=speaks, tell=hear)
    except KeyboardInterrupt:
        if is_main:
            print_error("interrupted; run the same command again to go on from the last saved state")
        return 130
    if is_main and json:
        print_json({"checkpoint": str(path), "stages": [asdict(news) for news in heard]})
    elif speaks:
        print_line(f"→ {path}")
        print_line(f"try it: ovrcoat segment PHOTO --model {path}")
    return 0


def _tell_plan(settings: "TrainConfig") -> None:
    """What is going to happen, before anything is loaded."""
    start = settings.start
    source = start.model or start.clip or "nano's towers"
    stages = ", ".join(f"{stage.name} ({stage.schedule.steps} steps)" for stage in settings.stages)
    print_note(f"start: {source}; stages: {stages}; output: {settings.output}")


def _line(news: "StageStatus") -> str:
    """One stage in one line."""
    if news.finished:
        return f"{news.name}: finished by an earlier run"
    rest = f", going on after step {news.steps_done}" if news.steps_done else ""
    return (
        f"{news.name}: {news.steps} steps{rest}; {news.images} images, {news.categories} words, "
        f"{news.trained:,} of {news.parameters:,} parameters train"
    )
