"""A lock on an output folder, so that two processes do not write into it at the same time."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from ovrcoat.errors import OutputError

LOCK_NAME = ".ovrcoat.lock"
OWNER_NAME = ".ovrcoat.owner"


class FolderLock:
    """Holds the lock of a folder until `release`; the system releases it when the process ends.

    Args:
        folder: an existing folder.
        timeout: seconds to wait for another owner.
        prefix: name of a file in the folder, to lock only what belongs to it.

    Raises:
        OutputError: another process or writer has the lock; the message names the owner.
    """

    def __init__(self, folder: Path, *, timeout: float = 0.0, prefix: str = "") -> None:
        self._owner_path = folder / f"{prefix}{OWNER_NAME}"
        self._lock_path = folder / f"{prefix}{LOCK_NAME}"
        self._lock = FileLock(self._lock_path, thread_local=False)
        try:
            self._lock.acquire(timeout=timeout)
        except Timeout as error:
            raise OutputError(
                f"{folder} is in use by {self._owner()}: wait until it has finished, or choose another "
                "output folder"
            ) from error
        except (OSError, NotImplementedError):
            return  # a file system without locks, or a folder that cannot be written: writing will tell
        with suppress(OSError):  # without it, only the name of the owner is missing
            self._owner_path.unlink(missing_ok=True)  # never write through a link that lies in the folder
            with self._owner_path.open("x", encoding="utf-8") as file:
                file.write(f"process {os.getpid()} on {socket.gethostname()}")

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def is_held(self) -> bool:
        """Whether this object has the lock; False after `release`, and on file systems without locks."""
        return self._lock.is_locked

    def release(self) -> None:
        """Release the lock, and remove its files."""
        if not self._lock.is_locked:
            return
        for path in (self._owner_path, self._lock_path):
            with suppress(OSError):  # Windows does not delete an open file
                path.unlink(missing_ok=True)
        self._lock.release()

    def _owner(self) -> str:
        try:
            return self._owner_path.read_text(encoding="utf-8")[:200] or "another process"
        except (OSError, ValueError):
            return "another process"
