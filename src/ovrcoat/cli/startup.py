"""A quicker start: heavy libraries are imported without looking for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Hold the garbage collector while torch is imported, and never show it what was made.

    The import makes some hundred thousand objects that live as long as the process; searching them over and
    over took about a fifth of `import torch`.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
