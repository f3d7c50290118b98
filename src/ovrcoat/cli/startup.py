"""Faster start: heavy libraries are imported with the garbage collector disabled."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Disable the garbage collector during the import of torch, and exclude the new objects from it.

    The import creates several hundred thousand objects that exist as long as the process. Scanning them
    repeatedly takes about a fifth of the time of `import torch`.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
