"""The right to write an output that takes long, and the removal of what a killed process left of it."""

import glob
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ovrcoat.system.folder_lock import FolderLock
from ovrcoat.system.paths import is_folder


@contextmanager
def exclusive_output(path: Path, *, folder: Path | None = None) -> Iterator[None]:
    """Let no other process write an output during the `with` block, and remove its leftovers first.

    Leftovers are the hidden `.part` files of a process that was killed (SIGKILL, power failure). Whoever has
    the lock knows that no living process writes them.

    Args:
        path: the output. Its leftovers are named after it, in the same folder; see `part_path`.
        folder: a folder that belongs to the output alone; all `.part` files in it are leftovers.

    Raises:
        OutputError: another process writes the output; the message names it.
    """
    if not is_folder(path.parent):  # nothing is left there, and a lock would create it before any work
        yield
        return
    with FolderLock(path.parent, prefix=f".{path.name}") as lock:
        if lock.is_held:
            leftovers = [*path.parent.glob(f".{glob.escape(path.name)}.*.part")]
            leftovers += [] if folder is None else folder.glob(".*.part")
            for leftover in leftovers:
                with suppress(OSError):
                    leftover.unlink()
        yield
