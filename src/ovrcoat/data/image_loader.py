"""Many images on their way to the network: read ahead, in full batches of one size, and out in order.

Images of different padded sizes never share a batch (see transforms.py). So that batches are full although
sizes alternate, a window of images is looked through for those of one size; what is encoded early waits for
its turn. Which images go together depends on the images alone, never on how fast they were read.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from typing import Generic, TypeVar
from warnings import warn

from ovrcoat.data.images import OnError
from ovrcoat.data.transforms import PreparedImage
from ovrcoat.errors import ConfigError, ImageError
from ovrcoat.system.prefetch import prefetch

Encoded = TypeVar("Encoded")

AHEAD = 2  # images read ahead, beside those of the next batch
WINDOW = 4  # batches that are looked through for images of one size
ENCODED = 2  # batches of encoded images that may live here: of two sizes, all batches are full
# What may wait, decoded and resized, read ahead and in the window; the last image may go beyond it. One of 12
# megapixels takes some 40 MB.
AHEAD_BYTES = 128 * 2**20
WINDOW_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Unreadable:
    """An image that cannot be read, as it was given, and why."""

    image: object
    error: ImageError

    def report(self, on_error: OnError) -> None:
        """Raise the error, warn, or tell the caller's function."""
        if on_error == "raise":
            raise self.error
        if on_error == "skip":
            warn(f"skipped: {self.error}", UserWarning, stacklevel=3)
        else:
            on_error(self.image, self.error)


@dataclass(slots=True)
class _Place(Generic[Encoded]):
    """A place in the window: an image, or what became of it."""

    image: PreparedImage | None
    outcome: Encoded | Unreadable | None
    nbytes: int


def encoded_in_order(
    images: Iterable[object],
    prepare: Callable[[object], PreparedImage],
    *,
    encode: Callable[[list[PreparedImage]], Sequence[Encoded]],
    batch_size: int,
    on_error: OnError,
) -> Generator[Encoded, None, None]:
    """What `encode` makes of each image, in order; it gets at most `batch_size` of one padded size.

    `prepare` reads and resizes an image. A list or tuple of paths (or bytes) is read ahead in a thread, and a
    list or tuple is looked through for images of one size. Another iterable is asked for at most `batch_size`
    images beforehand, and never before the image it gave last has been read: it may be a camera, or its files
    may be gone by then. An image that cannot be read is reported when its turn comes.

    Raises:
        ConfigError: `images` is a single image, or `batch_size` is below 1; at once.
        ImageError: an image cannot be read, and `on_error` is "raise"; on reaching it.
    """
    if isinstance(images, str | bytes | PathLike):
        raise ConfigError(
            "several images were expected, but one came: put it in a list, or use encode or segment"
        )
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}, expected 1 or more")
    read = _read(images, prepare, most=batch_size + AHEAD)
    look_ahead = WINDOW if isinstance(images, list | tuple) and batch_size > 1 else 1
    return _readable(
        read,
        _in_like_batches(read, encode, batch_size=batch_size, most=look_ahead * batch_size),
        on_error=on_error,
    )


def _readable(
    images: Generator[PreparedImage | Unreadable, None, None],
    outcomes: Iterator[Encoded | Unreadable],
    *,
    on_error: OnError,
) -> Generator[Encoded, None, None]:
    """Outcome after outcome, unreadable ones reported; then `images`, which they came from, are closed."""
    with closing(images):
        for outcome in outcomes:
            if isinstance(outcome, Unreadable):
                outcome.report(on_error)
            else:
                yield outcome
            del outcome  # or it would live until the next one is there


def _read(
    images: Iterable[object], prepare: Callable[[object], PreparedImage], *, most: int
) -> Generator[PreparedImage | Unreadable, None, None]:
    """Read image after image, ahead if nothing can happen to them meanwhile."""

    def read(image: object) -> PreparedImage | Unreadable:
        try:
            return prepare(image)
        except ImageError as error:
            return Unreadable(image, error)

    is_list = isinstance(images, list | tuple)
    if is_list and all(isinstance(image, str | bytes | PathLike) for image in images):
        yield from prefetch(
            images, read, name="read-ahead", most=most, size_of=_memory, most_bytes=AHEAD_BYTES
        )
    else:
        yield from map(read, images)


def _memory(image: PreparedImage | Unreadable) -> int:
    return image.nbytes if isinstance(image, PreparedImage) else 0


def _in_like_batches(
    images: Iterator[PreparedImage | Unreadable],
    encode: Callable[[list[PreparedImage]], Sequence[Encoded]],
    *,
    batch_size: int,
    most: int,
) -> Iterator[Encoded | Unreadable]:
    """Outcome after outcome; when the next image is not encoded, those of its size in the window are, too."""
    window: deque[_Place[Encoded]] = deque()
    while True:
        if not window or window[0].outcome is None:
            _fill(window, images, batch_size=batch_size, most=most)
            if not window:
                return
            _encode_first(window, encode, batch_size=batch_size)
        outcome = window.popleft().outcome
        assert outcome is not None
        yield outcome
        del outcome  # as above


def _fill(
    window: deque[_Place[Encoded]],
    images: Iterator[PreparedImage | Unreadable],
    *,
    batch_size: int,
    most: int,
) -> None:
    """Read on until there are `most` images; beyond one batch only while memory allows."""
    nbytes = sum(place.nbytes for place in window)
    while len(window) < batch_size or (len(window) < most and nbytes < WINDOW_BYTES):
        image = next(images, None)
        if image is None:
            return
        if isinstance(image, Unreadable):
            window.append(_Place(None, image, 0))
        else:
            window.append(_Place(image, None, image.nbytes))
            nbytes += image.nbytes


def _encode_first(
    window: deque[_Place[Encoded]],
    encode: Callable[[list[PreparedImage]], Sequence[Encoded]],
    *,
    batch_size: int,
) -> None:
    """Encode the first image, unless it is unreadable, and with it the next ones of its size."""
    first = window[0].image
    if first is None:
        return
    places, images, encoded_count = [], [], 0
    for place in window:
        if place.image is not None and place.image.padded_size == first.padded_size:
            places.append(place)
            images.append(place.image)
        encoded_count += place.image is None and not isinstance(place.outcome, Unreadable)
    room = min(batch_size, max(1, ENCODED * batch_size - encoded_count))
    for place, encoded in zip(places[:room], encode(images[:room]), strict=True):
        place.image, place.outcome = None, encoded
