"""Options of a benchmark run."""

from dataclasses import dataclass
from pathlib import Path

from machine import MatrixRate


@dataclass(frozen=True, slots=True)
class Run:
    """Options of a benchmark run.

    Attributes:
        model: Name of the model as given by the user.
        checkpoint: File or name to load the model from.
        size: Network input (width, height); None for the model's own settings.
        dtypes: Names of the dtypes to measure.
        full: Whether measurements that take long are included.
        repeats: Number of timed calls.
        rate: Matrix-product rate, sampled during the run.
        folder: Temporary folder for files of the run.
        data: Folder of labeled images, or None.
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
