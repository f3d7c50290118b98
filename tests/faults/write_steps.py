"""Disturb a process before one of its steps of writing: opening, writing, moving or deleting a file."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from ovrcoat.evaluation.journal import Journal
from ovrcoat.system import atomic_write
from ovrcoat.training.step_log import StepLog


class Kind(Enum):
    """Kinds of steps."""

    NEEDS_SPACE = 1  # on the disk
    NEEDS_NONE = 2
    APPEND = 3  # of a line to an open file. Only a kill can come before it: an error would come too early.


Act = Callable[[int, Kind], None]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOVES = ("os.rename", "os.remove", "os.rmdir")
# Writes to files that are open already have no audit event.
PATCHED: tuple[tuple[Any, str, Kind], ...] = (
    (os, "write", Kind.NEEDS_SPACE),
    (os, "fsync", Kind.NEEDS_NONE),
    (os, "ftruncate", Kind.NEEDS_NONE),
    (Journal, "append", Kind.APPEND),
    (StepLog, "add", Kind.APPEND),
)
MAX_WRITES = 2  # that count for one temporary file: a state has hundreds, which are all the same
_plain_write = os.write  # which a disturbance replaces


class Disturbance:
    """Calls `act` with the number of each step, from 1 on, and its kind.

    It stays for the rest of the process. Only steps on paths below `folder` count, and writes to open files.
    """

    def __init__(self, folder: Path, act: Act) -> None:
        self._root, self._act = os.fspath(folder), act
        self._step = 0
        sys.addaudithook(self._hook)
        for owner, name, kind in PATCHED:
            setattr(owner, name, self._counted(getattr(owner, name), kind))
        atomic_write._PartFile = self._counted_part()  # type: ignore[misc]

    def _count(self, kind: Kind) -> None:
        self._step += 1
        self._act(self._step, kind)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in {"open", "os.mkdir", *MOVES}:
            return
        if str(arguments[0]).startswith(self._root):
            if event in MOVES:
                self._count(Kind.NEEDS_NONE)
            elif event == "os.mkdir" or int(arguments[2] or 0) & WRITING:
                self._count(Kind.NEEDS_SPACE)

    def _counted(self, original: Callable[..., Any], kind: Kind) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._count(kind)
            return original(*arguments, **options)

        return call

    def _counted_part(self) -> type:
        """Return a class of temporary files whose writes count, below the code that handles errors."""
        count = self._count

        class CountedFile(io.FileIO):
            writes = 0

            def write(self, data: Any, /) -> int:
                self.writes += 1
                if self.writes <= MAX_WRITES:
                    count(Kind.NEEDS_SPACE)
                return super().write(data)

        return type("CountedPart", (atomic_write._PartFile, CountedFile), {})


def kill_at(wanted: int) -> Act:
    """Return an action that ends the process by SIGKILL."""

    def act(step: int, kind: Kind) -> None:
        if step == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def disk_full_from(wanted: int) -> Act:
    """Return an action that fails this step and all later ones that need space."""

    def act(step: int, kind: Kind) -> None:
        if step >= wanted and kind is Kind.NEEDS_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return act


def input_output_error_at(wanted: int) -> Act:
    """Return an action that fails one step, as a damaged disk does."""

    def act(step: int, kind: Kind) -> None:
        if step == wanted and kind is not Kind.APPEND:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    return act


def run_disturbed(work: Callable[[], object], folder: Path, act: Act) -> int | str:
    """Run `work` in a forked process whose writes are disturbed.

    Returns:
        The exit status of `work`, -9 if it was killed, or the error as "Class: message".
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            Disturbance(folder, act)
            status = work()
            message = str(status if isinstance(status, int) else 0)
        except BaseException as error:  # of any kind: it is reported to the parent
            message = f"{type(error).__name__}: {error}"
        _plain_write(writer, message.encode()[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        message = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return -os.WTERMSIG(status)
    return int(message) if message.isdigit() else message
