"""Encoded images by unguessable id: least recently used first out, bounded in bytes and in time."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import torch

from ovrcoat.segmentation.encoded_image import EncodedImage
from ovrcoat.server.api_errors import ApiError

ID_BYTES = 24


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An encoded image, and what is unusual about its file.

    Attributes:
        encoded: the image after the network.
        notes: `LoadedImage.notes` of the file.
        size: bytes in memory.
    """

    encoded: EncodedImage
    notes: tuple[str, ...]
    size: int


class ImageStore:
    """Keeps encoded images; used by one event loop.

    Args:
        max_bytes: memory of all images together; the least recently used ones are removed first.
        seconds: an image is removed this long after its last use.
        clock: returns the time in seconds.
    """

    def __init__(
        self, *, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._clock = clock
        self._images: OrderedDict[str, tuple[StoredImage, float]] = OrderedDict()  # and the last use

    def __len__(self) -> int:
        return len(self._images)

    def add(self, image: StoredImage) -> str:
        """Store an image and return its id.

        Raises:
            ApiError: 413, the image alone is larger than the store.
        """
        if image.size > self._max_bytes:
            raise ApiError(
                413,
                "image_too_large_to_store",
                f"this image takes {image.size:,} bytes in memory, and the server keeps at most "
                f"{self._max_bytes:,}; shrink the image, or segment it with POST /v1/segment",
            )
        self.remove_expired()
        while self.bytes + image.size > self._max_bytes:
            self._remove(next(iter(self._images)))
        id = secrets.token_urlsafe(ID_BYTES)
        self._images[id] = (image, self._clock())
        self.bytes += image.size
        return id

    def get(self, id: str) -> StoredImage:
        """Return an image and restart its time.

        Raises:
            ApiError: 404, there is no such image.
        """
        self.remove_expired()
        if id not in self._images:
            raise self._unknown()
        image, _ = self._images.pop(id)
        self._images[id] = (image, self._clock())
        return image

    def remove(self, id: str) -> None:
        """Remove an image.

        Raises:
            ApiError: 404, there is no such image.
        """
        self.remove_expired()
        if id not in self._images:
            raise self._unknown()
        self._remove(id)

    def remove_expired(self) -> None:
        """Remove the images whose time is over."""
        oldest = self._clock() - self._seconds
        while self._images:
            id, (_, used) = next(iter(self._images.items()))
            if used > oldest:
                break
            self._remove(id)

    def _remove(self, id: str) -> None:
        image, _ = self._images.pop(id)
        self.bytes -= image.size

    def _unknown(self) -> ApiError:
        return ApiError(
            404,
            "image_not_found",
            f"there is no image with this id: images are removed {self._seconds:g} s after their last use, "
            "or earlier if memory is needed; upload the image again",
        )


def memory_of(encoded: EncodedImage) -> int:
    """Return the bytes of all tensors and arrays of an encoded image, the shared network excluded."""
    storages: dict[int, int] = {}

    def visit(value: object) -> None:
        if isinstance(value, torch.nn.Module):
            return
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, np.ndarray):
            storages[id(value)] = value.nbytes
        elif isinstance(value, tuple | list):
            for item in value:
                visit(item)
        elif is_dataclass(value):
            for field in fields(value):
                visit(getattr(value, field.name))

    visit(encoded)
    return sum(storages.values())
