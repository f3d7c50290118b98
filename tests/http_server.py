"""What the tests of the server share."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx

MakeClient = Callable[..., AbstractContextManager[httpx.Client]]


def wait_until(is_true: Callable[[], bool], *, seconds: float = 20) -> bool:
    """Wait until a condition holds; return whether it does."""
    end = time.monotonic() + seconds
    while not is_true() and time.monotonic() < end:
        time.sleep(0.01)
    return is_true()
