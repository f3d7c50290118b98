"""Image loader: reads many images ahead, encodes them in full batches of one size, and keeps their order.

Images of different padded sizes never share a batch (see transforms.py). To fill batches although sizes
alternate, the loader searches a window of images for those of one size; images that were encoded early wait
for their turn. Which images share a batch depends on the images alone, never on timing.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from typing import Generic, TypeVar

from ovrcoat.data.images import ImageInput, StoredImage
from ovrcoat.data.transforms import PreparedImage
from ovrcoat.errors import ConfigError, ImageError
from ovrcoat.system.prefetch import prefetch

Encoded = TypeVar("Encoded")
Read = tuple[ImageInput, PreparedImage | ImageError]

PREFETCHED = 2  # images read ahead, in addition to those of the next batch
WINDOW = 4  # batches that are searched for images of one size
ENCODED = 2  # batches of encoded images that may wait: with two alternating sizes, all batches are full
# Memory limits of decoded and resized images, prefetched and in the window; the last image may exceed them.
# An image of 12 megapixels takes about 40 MB.
PREFETCHED_BYTES = 128 * 2**20
WINDOW_BYTES = 256 * 2**20


@dataclass(slots=True)
class _Slot(Generic[Encoded]):
    """A position in the window: an image that waits to be encoded, or its outcome."""

    source: ImageInput
    image: PreparedImage | None
    outcome: Encoded | ImageError | None
    nbytes: int

    def result(self) -> tuple[ImageInput, Encoded | ImageError]:
        """Return the source and its outcome."""
        assert self.outcome is not None
        return self.source, self.outcome


def encode_in_order(
    images: Iterable[ImageInput],
    prepare: Callable[[ImageInput], PreparedImage],
    *,
    encode: Callable[[list[PreparedImage]], Sequence[Encoded]],
    batch_size: int,
) -> Generator[tuple[ImageInput, Encoded | ImageError], None, None]:
    """Yield (source, what `encode` returned for it) in order; for an unreadable image (source, its error).

    Args:
        images: the sources. A list or tuple of paths, bytes or stored images is prefetched in a
            thread, and any list or tuple is searched for images of one size. Of another iterable at most
            `batch_size` images are requested in advance, and each is read before the next is requested: it
            may be a camera, or its files may be temporary.
        prepare: reads and resizes one image; raises `ImageError` if it is unreadable.
        encode: receives at most `batch_size` images of one padded size.
        batch_size: maximum number of images per batch.

    Raises:
        ConfigError: `images` is a single image, or `batch_size` is below 1; raised at once.
    """
    if isinstance(images, str | bytes | PathLike):
        raise ConfigError(
            "several images were expected, but one came: put it in a list, or use encode or segment"
        )
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}, expected 1 or more")
    window = WINDOW if isinstance(images, list | tuple) and batch_size > 1 else 1
    read = _read(images, prepare, max_items=batch_size + PREFETCHED)
    return _closing(read, _in_batches(read, encode, batch_size=batch_size, max_items=window * batch_size))


def _closing(
    read: Generator[Read, None, None], outcomes: Iterator[tuple[ImageInput, Encoded | ImageError]]
) -> Generator[tuple[ImageInput, Encoded | ImageError], None, None]:
    """Yield the outcomes, and close the reader behind them in the end."""
    with closing(read):
        yield from outcomes


def _read(
    images: Iterable[ImageInput], prepare: Callable[[ImageInput], PreparedImage], *, max_items: int
) -> Generator[Read, None, None]:
    """Read images one by one, in a background thread if they cannot change meanwhile."""

    def read(image: ImageInput) -> Read:
        try:
            return image, prepare(image)
        except ImageError as error:
            return image, error

    is_list = isinstance(images, list | tuple)
    if is_list and all(isinstance(image, str | bytes | PathLike | StoredImage) for image in images):
        yield from prefetch(
            images, read, name="prefetch", max_items=max_items, size_of=_nbytes, max_bytes=PREFETCHED_BYTES
        )
    else:
        yield from map(read, images)


def _nbytes(read: Read) -> int:
    return read[1].nbytes if isinstance(read[1], PreparedImage) else 0


def _in_batches(
    read: Iterator[Read],
    encode: Callable[[list[PreparedImage]], Sequence[Encoded]],
    *,
    batch_size: int,
    max_items: int,
) -> Iterator[tuple[ImageInput, Encoded | ImageError]]:
    """Yield outcomes in order; encoding an image also encodes others of its size in the window."""
    window: deque[_Slot[Encoded]] = deque()
    while True:
        if not window or window[0].outcome is None:
            _fill(window, read, batch_size=batch_size, max_items=max_items)
            if not window:
                return
            _encode_first(window, encode, batch_size=batch_size)
        yield window.popleft().result()  # no variable keeps it in memory until the next one exists


def _fill(window: deque[_Slot[Encoded]], read: Iterator[Read], *, batch_size: int, max_items: int) -> None:
    """Read until there are `max_items` images; beyond one batch only while memory allows."""
    nbytes = sum(slot.nbytes for slot in window)
    while len(window) < batch_size or (len(window) < max_items and nbytes < WINDOW_BYTES):
        item = next(read, None)
        if item is None:
            return
        source, image = item
        if isinstance(image, ImageError):
            window.append(_Slot(source, None, image, 0))
        else:
            window.append(_Slot(source, image, None, image.nbytes))
            nbytes += image.nbytes


def _encode_first(
    window: deque[_Slot[Encoded]],
    encode: Callable[[list[PreparedImage]], Sequence[Encoded]],
    *,
    batch_size: int,
) -> None:
    """Encode the first image, unless it is unreadable, together with the next ones of its size."""
    first = window[0].image
    if first is None:
        return
    slots, images, encoded_count = [], [], 0
    for slot in window:
        if slot.image is not None and slot.image.batch_key == first.batch_key:
            slots.append(slot)
            images.append(slot.image)
        encoded_count += slot.image is None and not isinstance(slot.outcome, ImageError)
    room = min(batch_size, max(1, ENCODED * batch_size - encoded_count))
    for slot, encoded in zip(slots[:room], encode(images[:room]), strict=True):
        slot.image, slot.outcome = None, encoded
