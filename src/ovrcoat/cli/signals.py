"""Signals that end a process: SIGTERM and SIGHUP are handled like Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM or SIGHUP.

    A `KeyboardInterrupt`, so that everything that cleans up after Ctrl-C does the same.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_status(error: KeyboardInterrupt) -> int:
    """Return the conventional exit status, 128 + signal: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (error.number if isinstance(error, Terminated) else signal.SIGINT)


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Raise `Terminated` on the first SIGTERM or SIGHUP, and ignore further ones while the process ends.

    A signal that is ignored already (as nohup does with SIGHUP) stays ignored. Outside the main thread
    nothing changes.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    earlier: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        for handled in earlier:
            signal.signal(handled, signal.SIG_IGN)
        raise Terminated(number)

    try:
        for number in numbers:
            if signal.getsignal(number) == signal.SIG_DFL:
                earlier[number] = signal.signal(number, handle)
    except ValueError:  # not the main thread
        earlier.clear()
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
