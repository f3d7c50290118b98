"""Ignore Pillow's warnings while images are decoded, in any thread."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

# The comment makes the pattern unique; otherwise removing it could remove an equal filter of the user.
_PILLOW_MODULES = r"PIL\.(?#ignored by ovrcoat)"
_filter_lock = threading.Lock()
_readers = 0  # number of `with` blocks that currently need the filter


@contextmanager
def pillow_warnings_ignored() -> Iterator[None]:
    """Ignore Pillow's warnings about unusual metadata and about sizes that are an error here anyway.

    Unlike `warnings.catch_warnings`, this is thread-safe. `catch_warnings` restores all filters to their
    previous state and thereby discards changes by other threads; this removes only its own filter.
    """
    global _readers  # noqa: PLW0603 - the warning filters are global, too
    with _filter_lock:
        _readers += 1
        warnings.filterwarnings(
            "ignore", module=_PILLOW_MODULES
        )  # if it exists already, it moves to the front
        ours = warnings.filters[0]
    try:
        yield
    finally:
        with _filter_lock:
            _readers -= 1
            if not _readers:
                with suppress(ValueError):  # a `catch_warnings` block that ended meanwhile has removed it
                    cast("list[object]", warnings.filters).remove(ours)
