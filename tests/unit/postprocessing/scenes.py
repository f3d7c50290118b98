"""Small random images after the network, and the plain, unbounded computation to compare with."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.postprocessing.upsampling import ImageSizes
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category


@dataclass(frozen=True)
class Scene:
    scored: ScoredMasks
    sizes: ImageSizes
    categories: tuple[Category, ...]


def make_categories(count: int, *, things: int) -> tuple[Category, ...]:
    """The first `things` are things; ids have gaps, as in COCO."""
    return tuple(Category((f"name{index}",), index < things, 10 + 3 * index) for index in range(count))


def make_scene(
    seed: int, *, queries: int = 6, visible: int = 4, background: int = 0, output: tuple[int, int] = (23, 31)
) -> Scene:
    random = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random)

    objectness_before = uniform(queries)
    coarse = 12 * torch.randn((1, max(queries, 1), 3, 4), generator=random)
    mask_logits = F.interpolate(coarse, size=(8, 16), mode="bilinear")[0, :queries]
    return Scene(
        ScoredMasks(
            mask_logits=mask_logits,
            category_probs=(5 * torch.randn((queries, visible + background), generator=random)).softmax(-1),
            objectness=objectness_before + (1 - objectness_before) * uniform(queries) / 2,
            objectness_before=objectness_before,
            clip_confidence=uniform(queries),
        ),
        ImageSizes(padded=(32, 64), valid=(27, 50), output=output),
        make_categories(visible, things=visible // 2),
    )


def plain_upsample(mask_logits: Tensor, sizes: ImageSizes) -> Tensor:
    """All masks at once, by PyTorch's own resize."""
    if len(mask_logits) == 0:
        return torch.zeros((0, *sizes.output))
    height, width = sizes.valid
    padded = F.interpolate(mask_logits[None], size=sizes.padded, mode="bilinear", align_corners=False)
    cropped = padded[..., :height, :width]
    return F.interpolate(cropped, size=sizes.output, mode="bilinear", align_corners=False)[0]


def plain_class_probs(scored: ScoredMasks) -> Tensor:
    """Categories, then void: the released code's softmax of log(p + 1e-8)."""
    objectness = scored.objectness[:, None]
    probs = torch.cat([scored.category_probs * objectness, 1 - objectness], dim=1)
    return (probs + 1e-8).log().softmax(-1)


def plain_panoptic(
    scene: Scene, *, object_mask_threshold: float, overlap_threshold: float
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The procedure word by word, whole maps at once: id map and (category index, area) per segment."""
    probs = plain_class_probs(scene.scored)
    masks = plain_upsample(scene.scored.mask_logits, scene.sizes).sigmoid()
    visible, void = len(scene.categories), probs.shape[1] - 1
    kept = [
        query
        for query, row in enumerate(probs)
        if int(row.argmax()) != void and float(row.max()) > object_mask_threshold
    ]
    id_map = np.zeros(scene.sizes.output, dtype=np.int32)
    found: list[tuple[int, int]] = []
    if not kept:
        return id_map, found
    strongest = torch.stack([float(probs[query].max()) * masks[query] for query in kept]).argmax(0)
    stuff: dict[int, int] = {}
    for place, query in enumerate(kept):
        label = int(probs[query].argmax())
        won, covers = strongest == place, masks[query] >= 0.5
        held = (won & covers).numpy()
        if not won.any() or not covers.any() or not held.any() or label >= visible:
            continue
        if int(won.sum()) / int(covers.sum()) < overlap_threshold:
            continue
        if label in stuff:
            id_map[held] = stuff[label]
            found[stuff[label] - 1] = (label, int((id_map == stuff[label]).sum()))
            continue
        found.append((label, int(held.sum())))
        id_map[held] = len(found)
        if not scene.categories[label].is_thing:
            stuff[label] = len(found)
    return id_map, found
