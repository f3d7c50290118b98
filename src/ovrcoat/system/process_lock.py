"""A lock for objects that are pickled, copied, or used in a forked process."""

import os
import threading
from types import TracebackType


class ProcessLock:
    """A reentrant lock between the threads of one process.

    A copy of it, and the lock itself in a forked process, is free: the thread that holds the original does
    not exist there, so waiting for it would never end.
    """

    __slots__ = ("_lock", "_process")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process = os.getpid()

    def __enter__(self) -> "ProcessLock":
        if self._process != os.getpid():
            self._lock, self._process = threading.RLock(), os.getpid()
        self._lock.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type["ProcessLock"], tuple[()]]:
        """Pickle and copy as a new lock."""
        return ProcessLock, ()
