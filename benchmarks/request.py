"""What a run was asked for."""

from dataclasses import dataclass
from pathlib import Path

from machine import MatrixRate


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked for.

    `checkpoint` is the model's file or name, `folder` a place for this run's files, `data` labelled photos.
    """

    model: str
    checkpoint: str
    size: tuple[int, int] | None
    dtypes: tuple[str, ...]
    full: bool
    repeats: int
    rate: MatrixRate
    folder: Path
    data: Path | None = None
