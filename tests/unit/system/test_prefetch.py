"""Order, bounds, errors and ends of the one helper thread."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ovrcoat.system.prefetch import BackgroundWorker, prefetch, write_behind


def side_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "side"]


def settle(condition: Callable[[], bool]) -> None:
    """Wait until something has happened in the thread."""
    until = time.monotonic() + 5
    while not condition() and time.monotonic() < until:
        time.sleep(0.001)
    assert condition()


def nothing(_: object) -> int:
    return 0


def prefetch_samples(items: Any, work: Callable[[Any], Any], **bounds: Any) -> Any:
    options: dict[str, Any] = {"max_items": 3, "size_of": nothing, "max_bytes": 1} | bounds
    return prefetch(items, work, name="side", **options)


class TestAhead:
    @pytest.mark.parametrize("count", [0, 1, 3, 4, 50])
    def test_order_is_kept(self, count: int) -> None:
        assert list(prefetch_samples(range(count), str)) == [str(number) for number in range(count)]
        assert side_threads() == []

    def test_work_is_done_in_another_thread_and_items_are_asked_for_in_this(self) -> None:
        here = threading.current_thread()

        def source() -> Iterator[threading.Thread]:
            for _ in range(3):
                yield threading.current_thread()

        pairs = list(prefetch_samples(source(), lambda asked: (asked, threading.current_thread())))
        assert {asked for asked, _ in pairs} == {here}
        assert here not in {worked for _, worked in pairs}

    def test_a_slow_caller_never_has_more_than_the_bound(self) -> None:
        made: list[int] = []
        results = prefetch_samples(range(20), lambda number: made.append(number) or number)
        for taken in range(15):
            assert next(results) == taken
            settle(lambda taken=taken: len(made) == taken + 4)  # three ahead of the one that was taken
            time.sleep(0.002)
            assert len(made) == taken + 4
        results.close()
        assert side_threads() == []

    def test_bytes_are_bounded(self) -> None:
        """Items of 40, 10, 10, ... bytes with room for 25: begun only while less than that waits."""
        made: list[int] = []
        results = prefetch_samples(
            [40] + [10] * 9,
            lambda size: made.append(size) or size,
            max_items=8,
            size_of=lambda size: size,
            max_bytes=25,
        )
        next(results)
        settle(lambda: len(made) == 4)  # the large one was alone; then 10 + 10 + 10
        time.sleep(0.01)
        assert len(made) == 4
        assert list(results) == [10] * 9

    def test_an_error_comes_in_its_place(self) -> None:
        def work(number: int) -> int:
            if number == 2:
                raise ZeroDivisionError("two")
            return number

        results = prefetch_samples(range(6), work)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ZeroDivisionError, match="two"):
            next(results)
        assert list(results) == []
        assert side_threads() == []

    def test_an_error_of_the_items_ends_the_thread(self) -> None:
        def source() -> Iterator[int]:
            yield 1
            raise LookupError("no more")

        with pytest.raises(LookupError, match="no more"):
            list(prefetch_samples(source(), str))
        assert side_threads() == []

    def test_closing_early_stops_the_thread(self) -> None:
        made: list[int] = []
        results = prefetch_samples(range(1000), lambda number: made.append(number) or number)
        next(results)
        assert len(side_threads()) == 1
        results.close()
        assert side_threads() == []
        assert len(made) <= 4

    def test_a_generator_that_is_let_go_stops_its_thread(self) -> None:
        results = prefetch_samples(range(1000), str)
        next(results)
        del results
        assert side_threads() == []

    def test_nothing_begins_before_the_first_is_asked_for(self) -> None:
        made: list[int] = []
        results = prefetch_samples(range(3), made.append)
        assert side_threads() == []
        assert made == []
        results.close()

    def test_the_thread_holds_no_item_between_two(self) -> None:
        class LoadedImage:
            alive = 0

            def __init__(self, _: object) -> None:
                LoadedImage.alive += 1

            def __del__(self) -> None:
                LoadedImage.alive -= 1

        most = 0
        for _ in prefetch_samples(range(30), LoadedImage, max_items=2):
            most = max(most, LoadedImage.alive)
        assert most <= 4  # the loop's, two that wait, and one


class TestBehind:
    def work_through(self, items: Any, work: Callable[[Any], Any], **bounds: Any) -> list[Any]:
        told: list[Any] = []
        options: dict[str, Any] = {"max_items": 3, "size_of": nothing, "max_bytes": 0} | bounds
        try:
            write_behind(items, work, name="side", on_result=told.append, **options)
        finally:
            assert side_threads() == []
            self.told = told
        return told

    def test_order_is_kept_and_telling_is_done_here(self) -> None:
        here = []
        write_behind(
            range(30),
            str,
            name="side",
            on_result=lambda made: here.append((made, threading.current_thread())),
            max_items=3,
            size_of=nothing,
            max_bytes=0,
        )
        assert here == [(str(number), threading.current_thread()) for number in range(30)]

    @pytest.mark.parametrize(
        ("bounds", "most"),
        [({"max_items": 3}, 4), ({"max_items": 9, "size_of": lambda _: 10, "max_bytes": 25}, 3)],
        ids=["count", "bytes"],
    )
    def test_a_slow_thread_holds_the_caller_up(self, bounds: dict[str, Any], most: int) -> None:
        begun, waiting = 0, []

        def source() -> Iterator[int]:
            nonlocal begun
            for number in range(12):
                begun += 1
                waiting.append(begun - len(done))
                yield number

        done: list[int] = []

        def work(number: int) -> None:
            time.sleep(0.004)
            done.append(number)

        self.work_through(source(), work, **bounds)
        assert len(done) == 12
        assert max(waiting) <= most + 1

    def test_what_came_before_an_interrupt_is_done_and_told(self) -> None:
        def source() -> Iterator[int]:
            yield from range(3)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.work_through(source(), lambda number: time.sleep(0.002) or number)
        assert self.told == [0, 1, 2]

    def test_an_interrupt_while_telling_loses_nothing(self) -> None:
        told = []

        def tell(number: int) -> None:
            told.append(number)
            if number == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_behind(
                range(9), int, name="side", on_result=tell, max_items=2, size_of=nothing, max_bytes=0
            )
        assert told == list(range(len(told)))
        assert side_threads() == []

    def test_after_an_error_nothing_more_is_done(self) -> None:
        done = []

        def work(number: int) -> int:
            if number == 2:
                raise OSError("disk full")
            done.append(number)
            return number

        with pytest.raises(OSError, match="disk full"):
            self.work_through(range(50), work)
        assert done == [0, 1]
        assert self.told == [0, 1]


def test_leaving_waits_for_the_item_that_is_begun_and_drops_the_others() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work(number: int) -> None:
        begun.set()
        go_on.wait(5)
        done.append(number)

    with BackgroundWorker(work, name="side") as thread:
        thread.put(1)
        thread.put(2)
        assert begun.wait(5)
        assert len(thread) == 2
        assert not thread.is_ready
        threading.Timer(0.01, go_on.set).start()
    assert done == [1]
    assert side_threads() == []
