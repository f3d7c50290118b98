"""Order, batches of like sizes, bounds and errors of many images; an image's number is its first pixel."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.data import image_loader
from ovrcoat.data.image_loader import encode_in_order
from ovrcoat.data.images import LoadedImage
from ovrcoat.data.transforms import PreparedImage
from ovrcoat.errors import ConfigError, ImageError

SIDES = (32, 64, 96)


def prepared(number: int, side: int = 32) -> PreparedImage:
    pixels = np.full((side, 32, 3), number, np.uint8)
    return PreparedImage(LoadedImage(pixels), pixels, stride=32)


class Encoder:
    """Remembers its batches; an image's code is its number."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, images: list[PreparedImage]) -> list[int]:
        assert len({image.padded_size for image in images}) == 1
        numbers = [int(image.resized[0, 0, 0]) for image in images]
        self.batches.append(numbers)
        return numbers


def by_size(sides: list[int]) -> Any:
    """A reader of numbers: image `number` has the side at this place, or cannot be read if that is 0."""

    def read(image: object) -> PreparedImage:
        number = int(str(image))
        if not sides[number]:
            raise ImageError(f"{number} is damaged")
        return prepared(number, sides[number])

    return read


def stream(images: Any, read: Any, **options: Any) -> Any:
    """The outcomes of `images`: each source comes with its own."""
    settings: dict[str, Any] = {"encode": Encoder(), "batch_size": 1} | options
    results = encode_in_order(images, read, **settings)

    def outcomes() -> Any:
        with closing(results):
            for source, outcome in results:
                if isinstance(source, str) and source.isdecimal() and isinstance(outcome, int):
                    assert int(source) == outcome
                yield outcome

    return outcomes()


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@given(st.lists(st.sampled_from((0, *SIDES)), max_size=40), st.integers(1, 5), st.booleans())
def test_every_image_comes_once_and_in_order(sides: list[int], batch_size: int, prefetch: bool) -> None:
    encode = Encoder()
    images = names(len(sides))
    outcomes = list(
        stream(
            images if prefetch else iter(images),
            by_size(sides),
            encode=encode,
            batch_size=batch_size,
        )
    )
    described = [str(outcome) if isinstance(outcome, ImageError) else outcome for outcome in outcomes]
    assert described == [number if side else f"{number} is damaged" for number, side in enumerate(sides)]
    encoded = [number for number, side in enumerate(sides) if side]
    assert sorted(chain.from_iterable(encode.batches)) == encoded
    assert all(len(batch) <= batch_size for batch in encode.batches)


def test_batches_are_full_though_sizes_alternate() -> None:
    sides = list(islice(cycle((32, 64)), 16))
    encode = Encoder()
    assert list(stream(names(16), by_size(sides), encode=encode, batch_size=4)) == list(range(16))
    assert encode.batches == [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10, 12, 14], [9, 11, 13, 15]]


def test_an_iterator_is_asked_for_one_batch_at_most() -> None:
    asked = []

    def source() -> Iterator[str]:
        for name in names(16):
            asked.append(name)
            yield name

    sides = list(islice(cycle((32, 64)), 16))
    encode = Encoder()
    results = stream(source(), by_size(sides), encode=encode, batch_size=4)
    assert asked == []
    for number in range(16):
        assert next(results) == number
        assert len(asked) <= number + 4


def test_an_iterators_image_is_read_before_the_next_is_asked_for(tmp_path: Path) -> None:
    """Its file may be gone afterwards."""

    def source() -> Iterator[Path]:
        for number in range(5):
            path = tmp_path / str(number)
            path.write_text(str(number))
            yield path
            path.unlink()

    def read(path: Any) -> PreparedImage:
        return prepared(int(path.read_text()))

    assert list(stream(source(), read, batch_size=2)) == [0, 1, 2, 3, 4]


def test_few_images_are_encoded_early() -> None:
    """Three sizes in turn: without a bound, eleven would wait in the window of four batches."""
    sides = list(islice(cycle(SIDES), 24))
    encode, waiting = Encoder(), []
    for number in stream(names(24), by_size(sides), encode=encode, batch_size=4):
        waiting.append(sum(map(len, encode.batches)) - number)
    assert max(waiting) <= 8
    assert max(map(len, encode.batches)) == 4


def test_the_window_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    one = prepared(0).nbytes
    monkeypatch.setattr(image_loader, "WINDOW_BYTES", 3 * one)
    monkeypatch.setattr(image_loader, "PREFETCHED_BYTES", 2 * one)
    read: list[int] = []

    def reader(image: object) -> PreparedImage:
        read.append(int(str(image)))
        return prepared(len(read) - 1)

    results = stream(names(30), reader, batch_size=2)
    for number in range(30):
        assert next(results) == number
        # in the window: this one and two; ahead of it two, and one that is being read
        assert len(read) <= number + 1 + 2 + 2 + 1
    results.close()


def test_a_window_never_holds_less_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_loader, "WINDOW_BYTES", 1)
    encode = Encoder()
    list(stream(names(6), by_size([32] * 6), encode=encode, batch_size=3))
    assert encode.batches == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_slow_caller_has_few_images_decoded(batch_size: int) -> None:
    read: list[int] = []

    def reader(image: object) -> PreparedImage:
        read.append(int(str(image)))
        return prepared(len(read) - 1)

    results = stream(names(60), reader, batch_size=batch_size)
    for number in islice(results, 40):
        window = batch_size if batch_size == 1 else image_loader.WINDOW * batch_size
        assert len(read) <= number + window + batch_size + image_loader.PREFETCHED + 1
    results.close()


def test_only_lists_of_paths_and_bytes_are_read_in_a_thread() -> None:
    read_by: list[threading.Thread] = []

    def reader(image: object) -> PreparedImage:
        read_by.append(threading.current_thread())
        return prepared(0)

    here = threading.current_thread()
    for images in (["a", b"", Path("c")], ("a",)):
        read_by.clear()
        list(stream(images, reader))
        assert here not in read_by
    for images in (iter(["a", "b"]), ["a", np.zeros((2, 2))], {"a": 1}):
        read_by.clear()
        list(stream(images, reader))
        assert set(read_by) == {here}


def test_an_unreadable_image_is_reported_in_its_place() -> None:
    results = stream(names(8), by_size([32, 32, 64, 32, 0, 32, 32, 32]), batch_size=3)
    outcomes = list(results)
    assert [outcome for outcome in outcomes if not isinstance(outcome, ImageError)] == [0, 1, 2, 3, 5, 6, 7]
    assert isinstance(outcomes[4], ImageError)
    assert str(outcomes[4]) == "4 is damaged"
    assert reading_threads() == []


def test_an_error_of_another_kind_comes_in_its_place() -> None:
    def reader(image: object) -> PreparedImage:
        if image == "2":
            raise MemoryError("too large")
        return prepared(int(str(image)))

    results = stream(names(4), reader)
    assert list(islice(results, 2)) == [0, 1]
    with pytest.raises(MemoryError, match="too large"):
        next(results)


def test_closing_early_and_an_interrupt_stop_the_thread() -> None:
    results = stream(names(50), by_size([32] * 50), batch_size=2)
    next(results)
    assert len(reading_threads()) == 1
    results.close()
    assert reading_threads() == []

    def interrupted(images: list[PreparedImage]) -> list[int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(stream(names(50), by_size([32] * 50), encode=interrupted))
    assert reading_threads() == []


def test_what_cannot_be_images_is_rejected_at_once() -> None:
    with pytest.raises(ConfigError, match="several images were expected, but one came"):
        stream("photo.jpg", prepared)
    with pytest.raises(ConfigError, match="batch_size is 0, expected 1 or more"):
        stream([], prepared, batch_size=0)


def test_no_warning_of_the_callers_is_lost_while_images_are_read() -> None:
    """Reading ignores Pillow's warnings, in its own thread and at any time."""
    from ovrcoat.data.pillow_warnings import pillow_warnings_ignored

    go_on = threading.Event()

    def reader(image: object) -> PreparedImage:
        with pillow_warnings_ignored():
            go_on.wait(5)
        return prepared(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        results = stream(names(3), reader)
        threading.Timer(0.01, go_on.set).start()
        next(results)
        warnings.warn("mine", UserWarning, stacklevel=1)
        results.close()
        assert list(warnings.filters) == before
    assert [str(one.message) for one in caught] == ["mine"]
