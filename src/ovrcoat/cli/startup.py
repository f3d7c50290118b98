"""The start of a verb: heavy libraries are imported with the garbage collector disabled, then work begins."""

import errno
import gc
from collections.abc import Iterator
from contextlib import contextmanager

from ovrcoat.errors import ConfigError
from ovrcoat.system.signals import begin_work


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Disable the garbage collector during the import of torch, and exclude the new objects from it.

    The import creates several hundred thousand objects that exist as long as the process. Scanning them
    repeatedly takes about a fifth of the time of `import torch`. Afterwards, a signal no longer ends the
    process at once (`begin_work`).

    Raises:
        ConfigError: A library cannot be loaded into memory.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
        begin_work()
    except (MemoryError, OSError, ImportError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ConfigError(
            f"the libraries cannot be loaded ({error}): not enough memory; allow this process more, or close "
            "other programs"
        ) from error
    finally:
        if was_enabled:
            gc.enable()


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether a library could not be mapped into memory; the loader reports it as an import error."""
    if isinstance(error, ImportError):
        return "failed to map segment" in str(error) or "cannot allocate memory" in str(error).lower()
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
