"""One thread beside the caller's, for the same work on item after item: reading ahead, writing behind.

Order is kept, what waits is bounded, an error of the thread reaches the caller in its place, and the thread
ends with the `with` block, the loop or the generator that it was started for.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


class BackgroundWorker(Generic[Item, Made]):
    """A thread that makes something of each item, in the order of `put`; `take` gives it back in that order.

    Work that raises is the last: `take` raises its error in its place, and items behind it are dropped. With
    `size_of`, no item is begun while what was made and not yet taken has `most_bytes` or more. Leaving `with`
    drops the items that are not begun and waits for the one that is.
    """

    def __init__(
        self,
        work: Callable[[Item], Made],
        *,
        name: str,
        size_of: Callable[[Made], int] | None = None,
        most_bytes: int = 1,
    ) -> None:
        self._work = work
        self._size_of = size_of or (lambda _: 0)
        self._most_bytes = most_bytes
        self._changed = threading.Condition()  # guards all that follows
        self._todo: deque[Item] = deque()
        self._busy = False
        self._made: deque[tuple[Made, int]] = deque()  # with its size
        self._bytes = 0
        self._error: BaseException | None = None
        self._closed = False
        # daemon: a generator that nobody closed must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> "BackgroundWorker[Item, Made]":
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
        """How many items were put and not taken."""
        with self._changed:
            return len(self._todo) + self._busy + len(self._made) + (self._error is not None)

    @property
    def is_ready(self) -> bool:
        """Whether `take` will not have to wait."""
        with self._changed:
            return bool(self._made) or self._error is not None

    def put(self, item: Item) -> None:
        """Let an item be worked on after those before it."""
        with self._changed:
            self._todo.append(item)
            self._changed.notify_all()

    def take(self) -> Made:
        """What was made of the oldest item; waits for it. Raises what its work raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._made or self._error is not None)
            if self._made:
                made, size = self._made.popleft()
                self._bytes -= size
                self._changed.notify_all()
                return made
            error, self._error = self._error, None
            self._todo.clear()
        assert error is not None
        raise error

    def _run(self) -> None:
        while self._begin():
            self._work_on_one()

    def _begin(self) -> bool:
        """Wait until there is something to do and room for it; False when there never will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._todo and self._bytes < self._most_bytes))
            self._busy = not self._closed
            return self._busy

    def _work_on_one(self) -> None:
        """In a function of its own: between two items the thread holds neither."""
        with self._changed:
            item = self._todo.popleft()
        try:
            made = self._work(item)
            size = self._size_of(made)
        except BaseException as error:  # the caller's business, whatever it is
            with self._changed:
                self._error, self._busy, self._closed = error, False, True
                self._changed.notify_all()
            return
        with self._changed:
            self._made.append((made, size))
            self._bytes += size
            self._busy = False
            self._changed.notify_all()


def prefetch(
    items: Iterable[Item],
    work: Callable[[Item], Made],
    *,
    name: str,
    most: int,
    size_of: Callable[[Made], int],
    most_bytes: int,
) -> Generator[Made, None, None]:
    """What `work` makes of each item, in order; up to `most` further ones are made beforehand in a thread.

    Nothing more is begun while what waits has `most_bytes`. `items` is walked through in the caller's thread.
    """
    with BackgroundWorker(work, name=name, size_of=size_of, most_bytes=most_bytes) as thread:
        for item in items:
            thread.put(item)
            if len(thread) > most:
                yield thread.take()
        while len(thread):
            yield thread.take()


def write_behind(
    items: Iterable[Item],
    work: Callable[[Item], Made],
    *,
    name: str,
    tell: Callable[[Made], object],
    most: int,
    size_of: Callable[[Item], int],
    most_bytes: int,
) -> None:
    """Let a thread work on each item while the caller's makes the next one; at most `most` wait at a time.

    No further item is asked for while those that wait have more than `most_bytes`. `tell` gets what was made,
    in order and in the caller's thread. Should `items` or `tell` raise, by Ctrl-C say, then what came so far
    is still worked on and told.
    """
    sizes: deque[int] = deque()  # of those that wait
    with BackgroundWorker(work, name=name) as thread:

        def tell_one() -> None:
            made = thread.take()
            sizes.popleft()
            tell(made)

        try:
            for item in items:
                sizes.append(size_of(item))
                thread.put(item)
                del item  # or it would live until the next one has come
                while thread.is_ready or len(sizes) > most or sum(sizes) > most_bytes:
                    tell_one()
        finally:
            while len(thread):
                tell_one()
