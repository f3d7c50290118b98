"""Processes, devices and the output folder of a training run."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch

from ovrcoat.errors import MissingExtraError
from ovrcoat.issues import Issue
from ovrcoat.system.atomic_write import cannot_write
from ovrcoat.system.devices import has_bfloat16
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.training.config import TrainConfig


def make_accelerator(config: TrainConfig) -> Any:
    """Create the `accelerate.Accelerator`, which is used for processes and devices, not for precision.

    Raises:
        MissingExtraError: accelerate or a tracker is not installed.
        OutputError: a tracker cannot write its files.
    """
    accelerate = import_optional("accelerate", extra="train")
    for tracker in config.trackers:  # accelerate would silently skip it
        if not importlib.util.find_spec(tracker):
            raise MissingExtraError(f"the tracker {tracker!r} is not installed. Run: pip install {tracker}")
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    accelerator = accelerate.Accelerator(
        # without this flag, accelerate does not connect processes that have no GPU: each trains its own model
        cpu=launched and not torch.cuda.is_available(),
        log_with=list(config.trackers) or None,
        project_dir=config.output,
        step_scheduler_with_optimizer=False,
    )
    if config.trackers:
        try:
            accelerator.init_trackers("ovrcoat", config={"seed": config.seed, "start": str(config.start)})
        except OSError as error:
            raise cannot_write(Path(config.output), error) from error
    return accelerator


def precision_issues(precision: str, device: torch.device) -> tuple[Issue, ...]:
    """Warn if bfloat16 was requested where it is emulated; whether MPS emulates it is not known."""
    if precision != "bfloat16" or device.type == "mps" or has_bfloat16(device):
        return ()
    return (
        Issue(
            "warning",
            "bfloat16-emulated",
            f"this {device.type} device has no bfloat16 instructions and emulates them, which can be four "
            "times slower than float32; set precision: float32, or auto",
        ),
    )
