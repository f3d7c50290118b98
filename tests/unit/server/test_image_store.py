"""Encoded images by id."""

from typing import Any

import numpy as np
import pytest

from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.server.api_errors import ApiError
from ovrcoat.server.image_store import ImageStore, StoredImage, memory_of


class Clock:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def encoded(tiny_segmenter: Segmenter, image_pixels: np.ndarray) -> Any:
    return tiny_segmenter.encode(image_pixels)


def test_the_least_recently_used_image_makes_room(encoded: Any):
    store = ImageStore(max_bytes=25, seconds=60.0)
    first, second = (store.add(StoredImage(encoded, (), 10)) for _ in range(2))
    store.get(first)
    third = store.add(StoredImage(encoded, (), 10))
    assert (len(store), store.bytes) == (2, 20)
    assert store.get(first).size == store.get(third).size == 10
    with pytest.raises(ApiError, match="there is no image with this id"):
        store.get(second)
    with pytest.raises(ApiError, match="the server keeps at most 25"):
        store.add(StoredImage(encoded, (), 26))
    assert len({first, second, third}) == 3


def test_an_image_is_removed_some_time_after_its_last_use(encoded: Any):
    clock = Clock()
    store = ImageStore(max_bytes=100, seconds=10.0, clock=clock)
    used, unused = (store.add(StoredImage(encoded, (), 10)) for _ in range(2))
    clock.now = 9
    store.get(used)
    clock.now = 11
    store.remove_expired()
    assert (len(store), store.bytes) == (1, 10)
    store.remove(used)
    for id in (used, unused):
        with pytest.raises(ApiError, match="upload the image again"):
            store.remove(id)


def test_memory_is_that_of_masks_features_and_pixels(encoded: Any, image_pixels: np.ndarray):
    masks = encoded.encoding.proposals.mask_logits
    at_least = masks.nbytes + encoded.encoding.clip_features.nbytes + image_pixels.nbytes
    assert at_least <= memory_of(encoded) < 3 * at_least
