"""Explanations agree with the panoptic map, and with a plain computation at the size of the image."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovrcoat.postprocessing.explained_masks import ExplainedMask, RegionMap, explain_masks
from ovrcoat.postprocessing.mask_status import MaskStatus
from ovrcoat.postprocessing.panoptic import PanopticOutput, panoptic
from ovrcoat.postprocessing.specks import without_specks
from ovrcoat.postprocessing.upsampling import logits_at
from ovrcoat.structures import ScoredMasks
from ovrcoat.vocabulary import Category

from .scenes import Scene, make_scene, plain_upsample

BACKGROUND = (Category(("tree",), False, 1), Category(("car",), True, 2))


def explained(
    scene: Scene, *, min_share: float = 0.0, duplicate_iou: float | None = 0.6, trust_zero: bool = False
) -> tuple[PanopticOutput, tuple[ExplainedMask, ...], RegionMap]:
    probs = scene.scored.category_probs
    scored = replace(scene.scored, in_vocab_probs=probs, out_vocab_probs=probs.flip(1))
    if trust_zero:
        scored = replace(scored, objectness=scored.objectness_before)
    output = panoptic(
        scored,
        scene.sizes,
        categories=scene.categories,
        background=BACKGROUND,
        object_mask_threshold=0.05,
        overlap_threshold=0.5,
        duplicate_iou=duplicate_iou,
        keep_assignment=True,
    )
    output = without_specks(output, min_share=min_share)
    masks, regions = explain_masks(
        scored, scene.sizes, output, categories=scene.categories, background=BACKGROUND
    )
    return output, masks, regions


seeds = st.integers(0, 2**31)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seeds)
def test_areas_boxes_and_shares_are_those_of_the_upsampled_masks(seed: int):
    scene = make_scene(seed, queries=9, background=2)
    _, masks, regions = explained(scene)
    inside = (plain_upsample(scene.scored.mask_logits, scene.sizes) >= 0).numpy()
    for mask, pixels in zip(masks, inside, strict=True):
        assert mask.area == pixels.sum()
        if mask.area:
            rows, columns = np.nonzero(pixels)
            box = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
            assert mask.bbox == tuple(int(value) for value in box)
        for region, share in mask.covered_by:
            here = regions.indices == regions.regions.index(region)
            assert share == pytest.approx((here & pixels).sum() / mask.area)
        shares = [share for _, share in mask.covered_by]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(float(mask.area > 0))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seeds, st.sampled_from([0.0, 0.05]))
def test_regions_agree_with_the_map_and_the_statuses(seed: int, min_share: float):
    scene = make_scene(seed, queries=9, background=2)
    output, masks, regions = explained(scene, min_share=min_share)
    assert regions.indices.shape == output.id_map.shape
    for index, region in enumerate(regions.regions):
        ids = np.unique(output.id_map[regions.indices == index])
        expected = region.segment_id if region.kind == "segment" else 0
        assert set(ids.tolist()) <= {expected}
        if region.kind == "rejected":
            assert region.query is not None
            assert masks[region.query].status is MaskStatus.OVERLAP
    background = {
        region.category: int((regions.indices == index).sum())
        for index, region in enumerate(regions.regions)
        if region.kind == "background"
    }
    assert background == {name: area for name, area in output.background_areas.items() if area}


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seeds)
def test_a_mask_is_rescued_if_it_is_void_at_trust_zero_and_not_now(seed: int):
    scene = make_scene(seed, queries=9, background=2)
    output, masks, _ = explained(scene)
    _, without_coat, _ = explained(scene, trust_zero=True)
    for mask, before in zip(masks, without_coat, strict=True):
        assert mask.rescued == (before.status is MaskStatus.VOID and mask.status is not MaskStatus.VOID)
        assert not before.rescued
    for segment in output.segments:
        assert segment.rescued == masks[segment.query].rescued


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seeds)
def test_every_rejected_mask_has_its_counterpart(seed: int):
    scene = make_scene(seed, queries=12, background=2)
    output, masks, _ = explained(scene)
    for mask in masks:
        assert (mask.duplicate_of is not None) == (mask.status is MaskStatus.DUPLICATE)
        if mask.duplicate_of is not None:
            better = masks[mask.duplicate_of]
            assert better.score >= mask.score
            assert mask.duplicate_of_segment == better.segment_id
        if mask.merged_into is not None:
            assert mask.merged_into == mask.segment_id
            assert output.segments[mask.merged_into - 1].query != mask.query
        if mask.status is MaskStatus.OVERLAP and mask.area:
            assert mask.argmax_ratio is not None
        if mask.outscored_by:
            assert mask.status is MaskStatus.OVERLAP


def test_the_best_categories_are_those_of_each_classifier():
    scene = make_scene(3, queries=5, visible=3, background=2)
    _, masks, _ = explained(scene)
    names = [category.name for category in (*scene.categories, *BACKGROUND)]
    for mask, probs in zip(masks, scene.scored.category_probs, strict=True):
        best = int(probs.argmax())
        assert (mask.in_vocab.category, mask.in_vocab.is_background) == (names[best], best >= 3)
        assert mask.in_vocab.probability == pytest.approx(float(probs.max()))
        assert mask.out_vocab.category == names[4 - best]
        assert mask.ensemble == mask.in_vocab
        assert mask.category == names[best]


def test_without_masks_there_are_no_explanations():
    scene = make_scene(1, queries=0)
    _, masks, regions = explained(scene)
    assert masks == ()
    assert {regions.regions[index].kind for index in np.unique(regions.indices)} == {"void"}


@settings(deadline=None, derandomize=True, max_examples=20)
@given(seeds, st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_logits_at_a_pixel_are_those_of_the_upsampled_masks(seed: int, output: tuple[int, int]):
    scene = make_scene(seed, output=output)
    scored: ScoredMasks = scene.scored
    upsampled = plain_upsample(scored.mask_logits, scene.sizes)
    y, x = seed % output[0], seed % output[1]
    found = logits_at(scored.mask_logits, scene.sizes, x=x, y=y)
    assert torch.allclose(found, upsampled[:, y, x], atol=1e-4)
