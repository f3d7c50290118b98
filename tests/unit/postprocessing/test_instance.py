from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovrcoat.postprocessing.instance import instances

from .scenes import Scene, make_scene, plain_class_probs, plain_upsample

Arguments = dict[str, Any]
arguments = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "queries": st.integers(0, 7),
        "visible": st.integers(1, 5),
        "background": st.integers(0, 3),
        "output": st.tuples(st.integers(1, 30), st.integers(1, 30)),
    }
)


def plain_instances(scene: Scene, limit: int) -> list[tuple[int, float, int]]:
    """(category id, score, area) of the best pairs of things, empty masks too."""
    masks = plain_upsample(scene.scored.mask_logits, scene.sizes)
    probs = plain_class_probs(scene.scored)[:, :-1]
    pairs = sorted(((float(p), q, c) for q, row in enumerate(probs) for c, p in enumerate(row)), reverse=True)
    found = []
    for probability, query, index in pairs[:limit]:
        if index < len(scene.categories) and scene.categories[index].is_thing:
            inside = masks[query] > 0
            mean = float(masks[query].sigmoid()[inside].sum() / (inside.sum() + 1e-6))
            found.append((scene.categories[index].id, probability * mean, int(inside.sum())))
    return sorted(found, key=lambda entry: -entry[1])


# the same examples each time: two float32 computations may part where a pixel is all but undecided
@settings(deadline=None, derandomize=True, max_examples=30)
@given(arguments, st.sampled_from([1, 4, 100]))
def test_it_is_the_plain_procedure(chosen: Arguments, limit: int):
    scene = make_scene(**chosen)
    segments, masks = instances(
        scene.scored, scene.sizes, categories=scene.categories, limit=limit, keep_empty=True
    )
    expected = plain_instances(scene, limit)
    assert [segment.id for segment in segments] == list(range(1, len(expected) + 1))
    assert [segment.score for segment in segments] == pytest.approx(
        [score for _, score, _ in expected], abs=1e-5
    )
    assert sorted((s.category_id, s.area) for s in segments) == sorted((c, a) for c, _, a in expected)
    for segment, mask in zip(segments, masks, strict=True):
        logits = plain_upsample(scene.scored.mask_logits, scene.sizes)[segment.query]
        assert (mask.unpack() == (logits > 0).numpy()).all()
        assert (segment.area, segment.bbox) == (mask.area, mask.bbox)


def test_an_empty_mask_is_left_out_unless_asked_for():
    scene = make_scene(0, queries=2, visible=2)
    scene.scored.mask_logits[0], scene.scored.mask_logits[1] = -3.0, 3.0
    segments, masks = instances(scene.scored, scene.sizes, categories=scene.categories, limit=9)
    assert [(segment.query, segment.area) for segment in segments] == [(1, 23 * 31)]
    assert len(masks) == 1
    everything, _ = instances(
        scene.scored, scene.sizes, categories=scene.categories, limit=9, keep_empty=True
    )
    assert [(segment.query, segment.score, segment.area) for segment in everything[1:]] == [(0, 0.0, 0)]


def test_another_mask_value_gives_the_released_codes_scores():
    scene = make_scene(2, queries=3, visible=2)
    scene.scored.mask_logits.fill_(4.0)
    by_logit, _ = instances(
        scene.scored, scene.sizes, categories=scene.categories, limit=9, mask_value=lambda logits: logits
    )
    by_probability, _ = instances(scene.scored, scene.sizes, categories=scene.categories, limit=9)
    ratio = 4 / torch.tensor(4.0).sigmoid().item()
    for one, other in zip(by_logit, by_probability, strict=True):
        assert one.score == pytest.approx(ratio * other.score, rel=1e-5)
