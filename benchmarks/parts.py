"""Measure the parts of `Segmenter.segment` separately."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from torch import nn

from ovrcoat import Segmenter
from ovrcoat.data import transforms
from ovrcoat.segmentation import postprocess

PARTS = {
    "resize": "reading, resizing",
    "encoder": "encoder trunk",
    "pixel_decoder": "pixel decoder",
    "mask_decoder": "mask decoder",
    "embed_masks": "mask embedding",
    "classify": "classification",
    "merge": "post-processing (merge)",
}


class Meter:
    """Adds up how much a reading (a clock or a counter) increases inside each part."""

    def __init__(self, reading: Callable[[], float]) -> None:
        self.reading = reading
        self.parts: dict[str, float] = defaultdict(float)

    def watched(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its calls measured."""

        @wraps(function)
        def measured(*arguments: Any, **named: Any) -> Any:
            began = self.reading()
            try:
                return function(*arguments, **named)
            finally:
                self.parts[part] += self.reading() - began

        return measured


@contextmanager
def watching(segmenter: Segmenter, meter: Meter) -> Iterator[None]:
    """Measure the parts of `Segmenter.segment` while the block runs."""
    network = segmenter.network
    functions = [
        (segmenter._image_encoder, "_prepare", "resize"),
        (transforms, "batch_images", "resize"),
        (network.encoder, "embed_masks", "embed_masks"),
        (network, "classify", "classify"),
        (postprocess, "_score", "classify"),
        (postprocess, "panoptic", "merge"),
    ]
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in functions]
    handles = []
    for name in ("encoder", "pixel_decoder", "mask_decoder"):
        handles += _hooks(getattr(network, name), name, meter)
    for owner, name, part in functions:
        setattr(owner, name, meter.watched(part, getattr(owner, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for owner, name, own in before:
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)


def _hooks(module: nn.Module, part: str, meter: Meter) -> list[Any]:
    """Read the meter before and after each call of a module."""

    def enter(*_: Any) -> None:
        meter.parts[part] -= meter.reading()

    def leave(*_: Any) -> None:
        meter.parts[part] += meter.reading()

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
