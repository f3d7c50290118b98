"""Progress of a stage on stderr: a bar on a terminal, otherwise a line every half a minute."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from tqdm import tqdm

from ovrcoat.system.visible_text import visible

SECONDS_BETWEEN_LINES = 30.0
UNREACHABLE = (OSError, ValueError, AttributeError)  # stderr is closed, its disk is full, or there is none


class StageProgress:
    """Shows step, loss and time left. A stream that cannot be written does not stop the training.

    Args:
        name: of the stage.
        first_step: steps completed by earlier runs.
        steps: length of the stage.
        enabled: show anything at all.
        clock: returns seconds; for tests.
    """

    def __init__(
        self,
        name: str,
        *,
        first_step: int,
        steps: int,
        enabled: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._first_step, self._steps, self._clock = name, first_step, steps, clock
        self._enabled = enabled
        self._bar: Any = None
        with suppress(*UNREACHABLE):
            if enabled and sys.stderr.isatty():
                self._bar = tqdm(initial=first_step, total=steps, unit="step")
        self._began = self._last_line = clock()

    def __enter__(self) -> "StageProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(*UNREACHABLE):
            if self._bar is not None:
                self._bar.close()

    def update(self, done: int, *, loss: float, terms: Mapping[str, float]) -> None:
        """Report a completed step.

        Args:
            done: completed steps.
            loss: sum of the weighted loss terms.
            terms: further numbers, which the bar shows.
        """
        if not self._enabled:
            return
        with suppress(*UNREACHABLE):
            if self._bar is not None:
                self._bar.set_postfix({name: f"{value:.3f}" for name, value in terms.items()}, refresh=False)
                self._bar.update()
                return
        now = self._clock()
        if now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        left = (now - self._began) / (done - self._first_step) * (self._steps - done)
        self.note(
            f"{self._name}: step {done} of {self._steps}, loss {loss:.4g}, {format_duration(left)} left"
        )

    def note(self, text: str) -> None:
        """Write a line, above the bar if there is one."""
        if not self._enabled:
            return
        text = visible(text)
        with suppress(*UNREACHABLE):
            if self._bar is not None:
                self._bar.write(text, file=sys.stderr)
            else:
                sys.stderr.write(f"{text}\n")
                sys.stderr.flush()


def format_duration(seconds: float) -> str:
    """Return a duration such as "40 s", "12 min" or "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
