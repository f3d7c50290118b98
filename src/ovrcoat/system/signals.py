"""Signals that end the process of the command line: SIGINT (Ctrl-C), SIGTERM and SIGHUP.

Until `begin_work` and after `end_work`, there is nothing to complete, and a signal ends the process at once.
A `KeyboardInterrupt` in the middle of an import would not be reliable: libraries turn it into other errors,
or lose it. In between, the first signal raises, so that everything that cleans up after Ctrl-C does so.
Further signals do not disturb that.

Nothing changes before `handle_signals`, which only the process of the command line calls.
"""

import _thread
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

TYPE_CHECKING = False  # see ovrcoat/__init__.py

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
PATIENCE = 2.0  # seconds after which a further Ctrl-C does not wait for the work to be completed


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


class _Handler:
    """Handles the signals of this process.

    Attributes:
        phase: "off" before `handle_signals`; "idle": nothing to complete; "working": the next signal raises;
            "ending": a signal was raised; "exiting": a signal ends the process at once.
        received: the signal that was raised.
    """

    def __init__(self) -> None:
        self.phase = "off"
        self.received: int | None = None
        self._ending_since = 0.0
        self._process = os.getpid()

    def install(self) -> None:
        """Handle the signals, except those that are ignored already (as nohup does with SIGHUP)."""
        self.phase = "idle"
        self._process = os.getpid()
        for name in NAMES:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)
        sys.unraisablehook = self._repeat_lost_interrupt
        # registered first, so called last: afterwards Python only unloads modules, without a handler
        atexit.register(self._ignore_interrupts)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker: its parent ends it
            if number != signal.SIGINT:
                os._exit(128 + number)
        elif self.phase == "idle":
            self._exit_at_once(number)
        elif self.phase == "working":
            self.phase, self.received, self._ending_since = "ending", number, time.monotonic()
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
        elif self.phase == "ending" and number == signal.SIGINT and self._is_impatient():
            self._exit_at_once(self.received or number)

    def _is_impatient(self) -> bool:
        return time.monotonic() - self._ending_since > PATIENCE

    def _exit_at_once(self, number: int) -> None:
        """End the process without cleaning up, with one line on stderr."""
        self.phase = "exiting"  # a further signal interrupts this function, and must not print the line again
        with suppress(OSError):
            os.write(2, b"error: interrupted\n")
        os._exit(128 + number)

    def _ignore_interrupts(self) -> None:
        if os.getpid() == self._process and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _repeat_lost_interrupt(self, lost: "UnraisableHookArgs") -> None:
        """Raise an interrupt again that Python drops because it happened in a destructor or callback."""
        if isinstance(lost.exc_value, KeyboardInterrupt) and self.received is not None:
            self.phase = "working"
            threading.Timer(0.01, _interrupt_main_thread, (self.received,)).start()
        else:
            sys.__unraisablehook__(lost)


_handler = _Handler()


def handle_signals() -> None:
    """Handle the signals of this process from now on; call it first, in the main thread."""
    _handler.install()


def begin_work() -> None:
    """Let the first signal raise `KeyboardInterrupt` or `Terminated`: there is work to complete."""
    if _handler.phase == "idle":
        _handler.phase = "working"


def end_work() -> None:
    """Let a signal end the process at once again, unless one was raised already."""
    if _handler.phase == "working":
        _handler.phase = "idle"


def received_signal() -> int | None:
    """Return the signal that was raised, or None. Errors after it are probably its consequences."""
    return _handler.received


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Start processes that never receive SIGINT, which a terminal sends to all processes of a command.

    This process receives it at the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _interrupt_main_thread(number: int) -> None:
    """Send a signal to the main thread, so that it also ends a system call."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:  # Windows
        _thread.interrupt_main(signal.Signals(number))
