from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ovrcoat.postprocessing.semantic import semantic, semantic_tiles

from .scenes import Scene, make_scene, plain_class_probs, plain_upsample

Arguments = dict[str, Any]
arguments = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "queries": st.integers(1, 7),
        "visible": st.integers(1, 5),
        "background": st.integers(0, 3),
        "output": st.tuples(st.integers(1, 30), st.integers(1, 30)),
    }
)


def plain_votes(scene: Scene) -> torch.Tensor:
    masks = plain_upsample(scene.scored.mask_logits, scene.sizes).sigmoid()
    return torch.einsum("qc,qhw->chw", plain_class_probs(scene.scored)[:, :-1], masks)


@settings(deadline=None, max_examples=30)
@given(arguments)
def test_votes_are_probability_times_mask_summed_over_queries(chosen: Arguments):
    scene = make_scene(**chosen)
    votes = torch.cat([tile for _, tile in semantic_tiles(scene.scored, scene.sizes)], dim=1)
    torch.testing.assert_close(votes, plain_votes(scene), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(arguments)
def test_votes_can_be_summed_at_the_size_of_the_input(chosen: Arguments):
    scene = make_scene(**chosen)
    tiles = semantic_tiles(scene.scored, scene.sizes, at_input_size=True)
    votes = torch.cat([tile for _, tile in tiles], dim=1)
    height, width = scene.sizes.valid
    logits = scene.scored.mask_logits[None]
    masks = F.interpolate(logits, size=scene.sizes.padded, mode="bilinear")[0].sigmoid()
    sums = torch.einsum("qc,qhw->chw", plain_class_probs(scene.scored)[:, :-1], masks)[:, :height, :width]
    expected = F.interpolate(sums[None], size=scene.sizes.output, mode="bilinear")[0]
    torch.testing.assert_close(votes, expected, rtol=1e-5, atol=1e-5)
    category_map, _, _ = semantic(scene.scored, scene.sizes, categories=scene.categories, at_input_size=True)
    winner, visible = votes.argmax(0).numpy(), len(scene.categories)
    np.testing.assert_array_equal(category_map, np.where(winner < visible, winner + 1, 0))


# the same examples each time: two float32 computations may part where a pixel is all but undecided
@settings(deadline=None, derandomize=True, max_examples=30)
@given(arguments)
def test_the_map_holds_the_best_visible_category_and_segments_describe_it(chosen: Arguments):
    scene = make_scene(**chosen)
    category_map, segments, _ = semantic(scene.scored, scene.sizes, categories=scene.categories)
    votes = plain_votes(scene)
    winner, visible = votes.argmax(0).numpy(), len(scene.categories)
    assert np.mean(category_map == np.where(winner < visible, winner + 1, 0)) > 0.99
    assert {segment.id for segment in segments} == set(np.unique(category_map)) - {0}
    for segment in segments:
        here = category_map == segment.id
        assert segment.category_id == scene.categories[segment.id - 1].id
        assert segment.area == here.sum()
        share = (votes[segment.id - 1] / votes.sum(0)).numpy()[here].mean()
        assert segment.score == pytest.approx(share, abs=1e-4)


def test_the_query_that_votes_most_describes_a_category():
    scene = make_scene(1, queries=2, visible=2)
    scene.scored.objectness.fill_(1.0)
    scene.scored.category_probs.copy_(torch.tensor([[0.9, 0.1], [0.3, 0.7]]))
    scene.scored.mask_logits[0], scene.scored.mask_logits[1] = -9.0, 9.0
    category_map, (segment,), _ = semantic(scene.scored, scene.sizes, categories=scene.categories)
    assert (category_map == 2).all()
    assert (segment.id, segment.query, segment.category) == (2, 1, "name1")
    assert segment.score == pytest.approx(0.7, abs=1e-3)


def test_nobody_votes():
    scene = make_scene(0, queries=0)
    category_map, segments, _ = semantic(scene.scored, scene.sizes, categories=scene.categories)
    assert not category_map.any()
    assert segments == ()
