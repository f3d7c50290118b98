"""Measure the panoptic merge alone: masks of one image to a map of 0.3, 2 and 12 megapixels."""

from typing import Any

import torch
from machine import extra_memory, repeat
from torch import Tensor
from torch.nn import functional as F

from ovrcoat import Vocabulary
from ovrcoat.postprocessing.panoptic import panoptic
from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.structures import ScoredMasks, Size

OUTPUTS: dict[str, Size] = {"0.3": (480, 640), "2": (1224, 1632), "12": (3000, 4000)}  # megapixels
VALID, PADDED = (800, 1067), (800, 1088)  # network input for images of 4:3
KEPT = 30
CATEGORIES = 20  # categories in the image; some occur more than once


def measure(
    output: Size,
    *,
    queries: int = 250,
    kept: int = KEPT,
    repeats: int = 5,
    valid: Size = VALID,
    scattered: bool = False,
) -> dict[str, Any]:
    """Measure seconds, bytes in addition to the masks, and the number of segments."""
    padded = (-(-valid[0] // 32) * 32, -(-valid[1] // 32) * 32)
    vocabulary = Vocabulary.named("coco")
    cells = (padded[0] // 4, padded[1] // 4)
    scored = made_up(queries, kept, cells, categories=len(vocabulary.categories), scattered=scattered)
    sizes = ImageSizes(padded=padded, valid=tuple(valid), output=tuple(output))

    @torch.inference_mode()
    def merge() -> int:
        found = panoptic(
            scored,
            sizes,
            categories=vocabulary.categories,
            object_mask_threshold=0.0,
            overlap_threshold=0.8,
        )
        return len(found.segments)

    # warm-up on a small map: loading libraries and kernels is not part of the merge
    warm = ImageSizes(padded=sizes.padded, valid=sizes.valid, output=(32, 32))
    panoptic(
        scored,
        warm,
        categories=vocabulary.categories,
        object_mask_threshold=0.0,
        overlap_threshold=0.8,
    )
    memory = extra_memory(merge)
    return {"memory": memory, "segments": merge()} | repeat(merge, repeats)


def made_up(queries: int, kept: int, size: Size, *, categories: int, scattered: bool = False) -> ScoredMasks:
    """Return synthetic masks, of which `kept` are not void: overlapping blobs, some of one category."""
    logits = class_logits(queries, kept, categories=categories)
    probs = logits.softmax(-1)
    known = probs[:, :-1]
    objectness = 1 - probs[:, -1]
    return ScoredMasks(
        mask_logits=blobs(queries, kept, size, scattered=scattered),
        category_probs=known / known.sum(-1, keepdim=True),
        objectness=objectness,
        objectness_before=objectness,
        clip_confidence=known.amax(-1),
    )


def class_logits(queries: int, kept: int, *, categories: int) -> Tensor:
    """Return logits of the categories, then of void; `kept` evenly spread queries are not void."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(queries, categories + 1, generator=generator)
    logits[:, -1] += 20
    something = torch.linspace(0, queries - 1, kept).long()
    logits[something, -1] -= 20
    present = torch.linspace(0, categories - 1, CATEGORIES).long()
    logits[something, present[torch.randint(CATEGORIES, (kept,), generator=generator)]] += 12
    return logits


def blobs(queries: int, kept: int, size: Size, *, scattered: bool = False) -> Tensor:
    """Return mask logits: the kept masks divide the image among them with soft borders; others are random.

    Each mask is one connected blob, like segments of real images. With `scattered`, it consists of specks all
    over the image, the worst case for a merge that skips masks without influence on a part of the map.
    """
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(queries, 1, 9, 12, generator=generator)
    masks = F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)[:, 0] * 12
    something = torch.linspace(0, queries - 1, kept).long()
    nearness = masks[something] if scattered else _nearness(kept, size, generator)
    best_two = nearness.topk(2, dim=0).values
    rivals = best_two[0].where(nearness < best_two[0], best_two[1])
    masks[something] = (nearness - rivals).clamp(-12, 12)
    return masks


def _nearness(count: int, size: Size, generator: torch.Generator) -> Tensor:
    """Return the negative distance of each cell to random centers, in cells, with uneven borders."""
    middles = torch.rand(count, 2, generator=generator) * torch.tensor(size)
    cells = torch.cartesian_prod(*(torch.arange(length, dtype=torch.float32) for length in size))
    distances = torch.cdist(middles, cells).view(count, *size)
    waves = torch.randn(count, 1, 18, 24, generator=generator)
    return F.interpolate(waves, size=size, mode="bicubic", align_corners=False)[:, 0] * 3 - distances
