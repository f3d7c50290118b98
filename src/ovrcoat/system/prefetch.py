"""Work in one background thread: reading ahead of the caller (prefetch) and writing behind it.

Results keep their order, waiting items are bounded in number and in bytes, and an error of the thread reaches
the caller at the position of its item. The thread ends with the `with` block, loop or generator that started
it. An executor of `concurrent.futures` does not replace it: its queue has no limit in bytes, and its threads
are joined when the interpreter exits, so a generator that was never closed could block the exit.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class BackgroundWorker(Generic[Item, Result]):
    """A thread that processes items in the order of `put`; `take` returns the results in the same order.

    If `work` raises, `take` raises the same error at that position, and later items are dropped. Leaving the
    `with` block drops items that have not been started, and waits for the one that is being processed.

    Args:
        work: called in the thread with one item at a time.
        name: name of the thread.
        size_of: number of bytes of a result. None: results are not counted.
        max_bytes: no item is started while the results that wait for `take` have this size or more.
    """

    def __init__(
        self,
        work: Callable[[Item], Result],
        *,
        name: str,
        size_of: Callable[[Result], int] | None = None,
        max_bytes: int = 1,
    ) -> None:
        self._work = work
        self._size_of = size_of or (lambda _: 0)
        self._max_bytes = max_bytes
        self._changed = threading.Condition()  # guards everything below
        self._todo: deque[Item] = deque()
        self._busy = False
        self._results: deque[tuple[Result, int]] = deque()  # with their sizes
        self._bytes = 0
        self._error: BaseException | None = None
        self._closed = False
        # a daemon, so that a generator that was never closed does not keep the process alive
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> "BackgroundWorker[Item, Result]":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def __len__(self) -> int:
        """Return the number of items that were put and not yet taken."""
        with self._changed:
            return len(self._todo) + self._busy + len(self._results) + (self._error is not None)

    @property
    def is_ready(self) -> bool:
        """Whether `take` would return at once."""
        with self._changed:
            return bool(self._results) or self._error is not None

    def put(self, item: Item) -> None:
        """Queue an item."""
        with self._changed:
            self._todo.append(item)
            self._changed.notify_all()

    def take(self) -> Result:
        """Wait for the oldest result and return it, or raise the error of its item."""
        with self._changed:
            self._changed.wait_for(lambda: self._results or self._error is not None)
            if self._results:
                result, size = self._results.popleft()
                self._bytes -= size
                self._changed.notify_all()
                return result
            error, self._error = self._error, None
            self._todo.clear()
        assert error is not None
        raise error

    def _run(self) -> None:
        while self._start():
            self._process_one()

    def _start(self) -> bool:
        """Wait until there are an item and room for its result; False once the worker is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._todo and self._bytes < self._max_bytes))
            self._busy = not self._closed
            return self._busy

    def _process_one(self) -> None:
        """Process one item; a separate function, so that between two items the thread references neither."""
        with self._changed:
            item = self._todo.popleft()
        try:
            result = self._work(item)
            size = self._size_of(result)
        except BaseException as error:  # of any kind: it is raised in the caller's thread
            with self._changed:
                self._error, self._busy, self._closed = error, False, True
                self._changed.notify_all()
            return
        with self._changed:
            self._results.append((result, size))
            self._bytes += size
            self._busy = False
            self._changed.notify_all()


def prefetch(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    name: str,
    max_items: int,
    size_of: Callable[[Result], int],
    max_bytes: int,
) -> Generator[Result, None, None]:
    """Yield `work(item)` of each item in order, computed ahead in a background thread.

    Args:
        items: iterated in the caller's thread.
        work: called in the background thread.
        name: name of the thread.
        max_items: number of results that may be computed ahead.
        size_of: number of bytes of a result.
        max_bytes: no item is started while waiting results have this size or more.
    """
    with BackgroundWorker(work, name=name, size_of=size_of, max_bytes=max_bytes) as worker:
        for item in items:
            worker.put(item)
            if len(worker) > max_items:
                yield worker.take()
        while len(worker):
            yield worker.take()


def write_behind(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    name: str,
    on_result: Callable[[Result], object],
    max_items: int,
    size_of: Callable[[Item], int],
    max_bytes: int,
) -> None:
    """Process each item in a background thread while the caller's thread computes the next one.

    If `items` or `on_result` raises (Ctrl-C, for example), the items so far are still processed and reported.

    Args:
        items: iterated in the caller's thread.
        work: called in the background thread.
        name: name of the thread.
        on_result: called with each result, in order, in the caller's thread.
        max_items: number of items that may wait.
        size_of: number of bytes of an item.
        max_bytes: no further item is requested while waiting items have more than this size.
    """
    sizes: deque[int] = deque()  # of the items that wait
    with BackgroundWorker(work, name=name) as worker:

        def report_one() -> None:
            result = worker.take()
            sizes.popleft()
            on_result(result)

        try:
            for item in items:
                sizes.append(size_of(item))
                worker.put(item)
                del item  # or this frame would keep it in memory until the next one exists
                while worker.is_ready or len(sizes) > max_items or sum(sizes) > max_bytes:
                    report_one()
        finally:
            while len(worker):
                report_one()
