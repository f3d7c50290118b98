"""Log of a stage: one JSON line per step."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from ovrcoat.system.atomic_write import write_atomically


class StepLog:
    """Appends to a JSON Lines file.

    A resumed run repeats the steps from `first_step` on, so their lines are deleted first.
    """

    def __init__(self, path: Path, *, first_step: int) -> None:
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            text = "".join(f"{line}\n" for line in lines if _step(line) < first_step)
            write_atomically(path, lambda file: file.write(text.encode()))
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: Mapping[str, object]) -> None:
        """Write one line and flush it, so that a killed process loses nothing."""
        self._file.write(json.dumps(dict(record)) + "\n")
        self._file.flush()


def _step(line: str) -> int:
    """The step of a line. A line that was cut off by a kill counts as later than any step."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**63
