"""Measure Mask2Former of Hugging Face transformers and this package with equal widths and depths.

Both have random weights; nothing is downloaded. The backbone of transformers is a ConvNeXt of equal width.
Only this package has a text tower and a classification by CLIP; both are left out of the network times. Its
`embed_masks` (one pooling) is included.
"""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from machine import extra_memory, repeat, resident_memory
from merge import blobs, class_logits, made_up
from models import load

from ovrcoat import Vocabulary
from ovrcoat.config import ConvNextConfig, ModelConfig
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.postprocessing.panoptic import panoptic
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.structures import ImageBatch, Size

FRAME = (800, 1216)  # network input without padding, since transformers gets no padding mask here
CELLS = (FRAME[0] // 4, FRAME[1] // 4)  # height and width of a mask
KEPT = 30
OVERLAP = 0.8


def their_network(*, model: str, size: Size, repeats: int, queries: int = 250) -> dict[str, Any]:
    """Measure one forward pass of transformers: seconds in total and per part, and additional bytes."""
    from transformers import Mask2FormerForUniversalSegmentation

    torch.manual_seed(0)
    network = Mask2FormerForUniversalSegmentation(their_config(model, queries=queries)).eval()
    level = network.model.pixel_level_module
    parts = {
        "encoder": level.encoder,
        "pixel_decoder": level.decoder,
        "mask_decoder": network.model.transformer_module,
    }
    pixels = torch.randn(1, 3, *size)
    return _measure(lambda: network(pixels), parts, repeats)


def our_network(*, model: str, size: Size, repeats: int, dtype: str = "float32") -> dict[str, Any]:
    """Measure the same of this package; `model` is a checkpoint."""
    network = load(model, dtype=dtype).network
    parts = {name: getattr(network, name) for name in ("encoder", "pixel_decoder", "mask_decoder")}
    images = ImageBatch(255 * torch.rand(1, 3, *size), (tuple(size),))
    return _measure(lambda: network(images), parts, repeats)


def their_config(model: str, *, queries: int) -> Any:
    """Translate the configuration of this package into one of transformers."""
    from transformers import ConvNextConfig as TheirConvNextConfig
    from transformers import Mask2FormerConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # it warns that only Swin backbones are tested
    encoder = CLIP_ENCODERS[model]
    assert isinstance(encoder, ConvNextConfig)
    settings = ModelConfig(encoder=encoder)
    pixel, mask = settings.pixel_decoder, settings.mask_decoder
    return Mask2FormerConfig(
        backbone_config=TheirConvNextConfig(
            hidden_sizes=list(encoder.widths),
            depths=list(encoder.depths),
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=pixel.channels,
        mask_feature_size=pixel.mask_channels,
        hidden_dim=mask.channels,
        encoder_layers=pixel.layers,
        encoder_feedforward_dim=pixel.feed_forward,
        decoder_layers=mask.layers + 1,  # transformers counts the prediction before the first layer
        dim_feedforward=mask.feed_forward,
        num_attention_heads=mask.heads,
        num_queries=queries,
        num_labels=len(Vocabulary.named("coco").categories),
    )


def their_merge(
    output: Size, *, queries: int = 250, kept: int = KEPT, repeats: int = 3, scattered: bool = False
) -> dict[str, Any]:
    """Measure `post_process_panoptic_segmentation`: seconds, bytes, segments and shared ids."""
    from transformers import Mask2FormerImageProcessor
    from transformers.utils import logging

    logging.set_verbosity_error()
    vocabulary = Vocabulary.named("coco")
    outputs = SimpleNamespace(
        class_queries_logits=class_logits(queries, kept, categories=len(vocabulary.categories))[None],
        masks_queries_logits=blobs(queries, kept, CELLS, scattered=scattered)[None],
    )
    stuff = {place for place, category in enumerate(vocabulary.categories) if not category.is_thing}
    process = Mask2FormerImageProcessor().post_process_panoptic_segmentation

    @torch.inference_mode()
    def merge(size: Size = output) -> dict[str, Any]:
        (found,) = process(
            outputs,
            threshold=0.0,
            overlap_mask_area_threshold=OVERLAP,
            label_ids_to_fuse=stuff,
            target_sizes=[tuple(size)],
        )
        return found

    merge((32, 32))
    memory = extra_memory(merge)
    found = merge()
    segments = found["segments_info"]
    # owners of an id: a stuff category, or one thing
    owners = {
        (segment["id"], segment["label_id"] if segment["was_fused"] else f"thing {place}")
        for place, segment in enumerate(segments)
    }
    labels = {segment["id"]: segment["label_id"] for segment in segments}
    return {
        "memory": memory,
        "segments": len(owners),
        "collisions": len(owners) - len(labels),
        "categories": _categories(found["segmentation"].numpy(), labels),
    } | repeat(merge, repeats)


def our_merge(
    output: Size, *, queries: int = 250, kept: int = KEPT, repeats: int = 3, scattered: bool = False
) -> dict[str, Any]:
    """Measure `postprocessing.panoptic` on the same masks and logits."""
    vocabulary = Vocabulary.named("coco")
    scored = made_up(queries, kept, CELLS, categories=len(vocabulary.categories), scattered=scattered)

    @torch.inference_mode()
    def merge(size: Size = output) -> Any:
        return panoptic(
            scored,
            ImageSizes(padded=FRAME, valid=FRAME, output=tuple(size)),
            categories=vocabulary.categories,
            object_mask_threshold=0.0,
            overlap_threshold=OVERLAP,
        )

    merge((32, 32))
    memory = extra_memory(merge)
    found = merge()
    ids = [segment.id for segment in found.segments]
    place = {category.id: index for index, category in enumerate(vocabulary.categories)}
    labels = {segment.id: place[segment.category_id] for segment in found.segments}
    return {
        "memory": memory,
        "segments": len(ids),
        "collisions": len(ids) - len(set(ids)),
        "categories": _categories(found.id_map, labels),
    } | repeat(merge, repeats)


def _measure(run: Any, parts: dict[str, torch.nn.Module], repeats: int) -> dict[str, Any]:
    """Measure memory in the first call, and seconds in the following ones."""
    held = resident_memory()
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    began: dict[str, float] = {}
    for name, part in parts.items():
        part.register_forward_pre_hook(lambda *_, name=name: began.update({name: time.perf_counter()}))
        part.register_forward_hook(
            lambda *_, name=name: seconds[name].append(time.perf_counter() - began[name])
        )
    with torch.inference_mode():
        memory = extra_memory(run)
        figures: dict[str, Any] = repeat(run, repeats)
    best = {name: min(taken[1:]) for name, taken in seconds.items()}
    return figures | {"memory": memory, "loaded": held, "parts": best}


def _categories(id_map: np.ndarray, labels: dict[int, int]) -> list[int]:
    """Return the category of every 37th pixel, or -1 for none. This is enough to compare two maps."""
    table = np.full(max(labels, default=0) + 1, -1)
    for id, label in labels.items():
        table[id] = label
    return table[id_map.astype(np.int64).ravel()[::37]].tolist()
