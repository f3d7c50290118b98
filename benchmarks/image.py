"""Measure one image: operations, time and memory of each part of the model.

`torch.utils.flop_counter` counts operations from the shapes of every matrix product and convolution (2 per
multiply-add). Weighted sums that it does not know are reported separately.
"""

import time
from collections import defaultdict
from dataclasses import replace
from typing import Any

import torch
from machine import extra_memory, file_memory, peak_memory, repeat, resident_memory
from models import VOCABULARY, load, make_image
from parts import PARTS, Meter, watching
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ovrcoat import Segmenter
from ovrcoat.structures import MaskPredictions

KEPT = 30  # a trained network keeps about this many of 250 masks; a random one keeps all or none
aten = torch.ops.aten


def measure(
    model: str,
    *,
    size: tuple[int, int] | None,
    dtype: str,
    repeats: int,
    few_masks: bool = False,
) -> dict[str, Any]:
    """Best and median seconds in total and per part, and bytes, for an image given as an array."""
    libraries = resident_memory()
    began = time.perf_counter()
    segmenter = load(model, dtype=dtype)
    loading = time.perf_counter() - began
    segmenter, pixels = prepare(segmenter, size)
    if few_masks:
        keep_few(segmenter)

    def image() -> object:
        return segmenter.segment(pixels, VOCABULARY)

    loaded, files, loading_peak = resident_memory(), file_memory(), peak_memory()
    extra = extra_memory(image)  # the first call also embeds the class names and builds kernels
    runs = []
    for _ in range(repeats):
        meter = Meter(time.perf_counter)
        with watching(segmenter, meter):
            image()
        runs.append(meter.parts)
    figures: dict[str, Any] = {"parts": {part: min(run[part] for run in runs) for part in PARTS}}
    figures |= repeat(image, repeats)
    figures["memory"] = {
        "libraries": libraries,
        "loaded": loaded,
        "files": files,
        "loading": loading_peak,
        "extra": extra,
        "peak": max(loading_peak, peak_memory()),
    }
    return figures | {"loading": loading, "input": input_size(segmenter, pixels), "image": pixels.shape[:2]}


def count(model: str, *, size: tuple[int, int] | None, few_masks: bool = False) -> dict[str, Any]:
    """Count operations per part in float32, and list the weighted sums that are not included."""
    segmenter, pixels = prepare(load(model), size)
    if few_masks:
        keep_few(segmenter)
    segmenter.network.requires_grad_(False)  # the counter would look for gradients
    segmenter.segment(pixels, VOCABULARY)
    unknown: dict[str, int] = defaultdict(int)

    def embedding_bag(table: torch.Size, rows: torch.Size, *_: Any, **__: Any) -> int:
        unknown["embedding_bag"] += 2 * rows.numel() * table[-1]
        return 0

    def grid_sample(_: torch.Size, __: torch.Size, *___: Any, out_shape: torch.Size, **____: Any) -> int:
        unknown["grid_sample"] += 8 * out_shape.numel()  # four corners
        return 0

    def attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    def one_call(rows: torch.Size, weight: torch.Size, *_: Any, **__: Any) -> int:
        return 2 * rows.numel() * weight[0]

    extra = {
        aten._scaled_dot_product_flash_attention_for_cpu: attention,
        aten._embedding_bag: embedding_bag,
        aten._embedding_bag_forward_only: embedding_bag,
        aten.grid_sampler_2d: grid_sample,
    }
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        extra[torch.ops.mkldnn._linear_pointwise] = one_call
    with FlopCounterMode(display=False, custom_mapping=extra) as counter:
        meter = Meter(counter.get_total_flops)
        with watching(segmenter, meter):
            segmenter.segment(pixels, VOCABULARY)
        total = counter.get_total_flops()
    return {
        "parts": {part: meter.parts[part] for part in PARTS},
        "total": total,
        "unknown": dict(unknown),
    }


def prepare(segmenter: Segmenter, size: tuple[int, int] | None) -> tuple[Segmenter, Any]:
    """Return the segmenter for a network input of `size` (width, height), and a matching image.

    The image is smaller than the input, as COCO's images are. Without a size, the model keeps its settings
    and the image has 640 × 480 pixels.
    """
    if size is None:
        return segmenter, make_image(640, 480)
    width, height = size
    shrink = (
        427 / 800 if min(size) > 427 else 1
    )  # COCO's images have 640 × 427, the published input 1199 × 800
    pixels = make_image(round(width * shrink), round(height * shrink))
    return segmenter.with_settings(short_side=min(size), max_long_side=max(size)), pixels


def input_size(segmenter: Segmenter, pixels: Any) -> tuple[int, int]:
    """Return height and width of the padded input."""
    return segmenter.encode(pixels).sizes.padded


def keep_few(segmenter: Segmenter) -> None:
    """Make a random network keep `KEPT` masks and reject the others as void, like a trained network."""
    network = segmenter.network
    classify = network.classify

    def classify_few(*arguments: Any, **named: Any) -> MaskPredictions:
        found = classify(*arguments, **named)
        void = torch.full_like(found.void_logits, 1000.0)
        void[:, :KEPT] = -1000.0
        return replace(found, void_logits=void)

    network.classify = classify_few  # type: ignore[method-assign]
