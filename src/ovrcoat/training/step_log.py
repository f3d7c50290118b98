"""The log of a stage: one JSON line per step, and trackers that were asked for."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ovrcoat.system.atomic_write import write_atomically


class StepJournal:
    """Writes `path`; lines of steps from `first_step` on, which a resumed run repeats, are dropped first."""

    def __init__(self, path: Path, *, first_step: int) -> None:
        if path.is_file():
            kept = [
                line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) < first_step
            ]
            text = "".join(f"{line}\n" for line in kept)
            write_atomically(path, lambda file: file.write(text.encode()))
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> "StepJournal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: Mapping[str, object]) -> None:
        """Write one line at once: a killed run has lost none."""
        self._file.write(json.dumps(dict(record)) + "\n")
        self._file.flush()


def _step(line: str) -> int:
    """The step of a line; of one that a kill tore, more than any."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**63
