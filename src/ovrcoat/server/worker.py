"""The inference worker: one thread computes the requests of a device, a bounded number of them waits."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.requests import Request

from ovrcoat.server.api_errors import CLIENT_CLOSED_REQUEST, ApiError

Output = TypeVar("Output")
SMOOTHING = 0.2  # weight of the newest job in the mean time of a job


class CanceledError(Exception):
    """The client of a job has left, or its time is over."""


class Cancellation:
    """Tells a running job that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Cancel the job."""
        self._event.set()

    def check(self) -> None:
        """Call this between the steps of a job.

        Raises:
            CanceledError: the job was canceled.
        """
        if self._event.is_set():
            raise CanceledError


class InferenceWorker:
    """Runs jobs one after the other in one thread; used by one event loop.

    Args:
        queue_size: requests that may wait besides the one that is computed.
    """

    def __init__(self, *, queue_size: int) -> None:
        self.queue_size = queue_size
        self.admitted = 0
        self._mean_seconds = 1.0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="ovrcoat-inference")

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Reserve a place in the queue, before anything large is read.

        Raises:
            ApiError: 429, the queue is full.
        """
        if self.admitted > self.queue_size:
            seconds = max(1, math.ceil(self._mean_seconds * self.admitted))
            raise ApiError(
                429,
                "queue_full",
                f"{self.admitted} requests are being processed, which is the limit; try again in about "
                f"{seconds} s",
                headers={"Retry-After": str(seconds)},
            )
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, request: Request, job: Callable[[Cancellation], Output]) -> Output:
        """Return the output of a job, whose request has a slot and whose body was read.

        If the client leaves or the caller is canceled, a waiting job is removed, and a running one is
        canceled at its next step.

        Raises:
            ApiError: the client has left.
        """
        cancellation = Cancellation()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, self._timed, job, cancellation)
        left: asyncio.Future[None] = asyncio.ensure_future(_disconnection(request))
        waited: set[asyncio.Future[Any]] = {future, left}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            raise ApiError(CLIENT_CLOSED_REQUEST, "client_closed_request", "the client closed the request")
        finally:
            cancellation.set()
            future.cancel()
            left.cancel()

    def close(self) -> None:
        """Wait for the running job and end the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _timed(self, job: Callable[[Cancellation], Output], cancellation: Cancellation) -> Output:
        cancellation.check()
        start = time.perf_counter()
        output = job(cancellation)
        seconds = time.perf_counter() - start
        self._mean_seconds += SMOOTHING * (seconds - self._mean_seconds)
        return output


async def _disconnection(request: Request) -> None:
    """Return when the client has closed the connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
