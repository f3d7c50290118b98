"""The right to write an output that takes long, and the removal of what a killed process left of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ovrcoat.system.atomic_write import remove_leftovers
from ovrcoat.system.folder_lock import FolderLock
from ovrcoat.system.paths import is_folder


@contextmanager
def exclusive_output(path: Path) -> Iterator[None]:
    """Let no other process write an output during the `with` block, and remove its leftovers first.

    Args:
        path: the output. Its leftovers are named after it, in the same folder; see `new_part_path`.

    Raises:
        OutputError: another process writes the output; the message names it.
    """
    if not is_folder(path.parent):  # nothing is left there, and a lock would create it before any work
        yield
        return
    with FolderLock(path.parent, prefix=f".{path.name}") as lock:
        if lock.is_held:
            remove_leftovers(path.parent, name=path.name)
        yield
