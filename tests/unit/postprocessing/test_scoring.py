from dataclasses import replace

import pytest
import torch

from ovrcoat.postprocessing.scoring import class_probs, score_masks
from ovrcoat.postprocessing.stability import stability
from ovrcoat.structures import MaskPredictions, ScoredMasks

from .scenes import make_scene, plain_class_probs

SEEN = torch.tensor([True, False, True, False])


@pytest.fixture
def predictions() -> MaskPredictions:
    torch.manual_seed(0)
    return MaskPredictions(
        mask_logits=torch.randn(2, 5, 3, 4),
        in_vocab_logits=4 * torch.randn(2, 5, 4),
        void_logits=4 * torch.randn(2, 5),
        out_vocab_logits=4 * torch.randn(2, 5, 4),
        valid_mask=torch.tensor([[True, True, False, True, True]] * 2),
    )


def score(
    predictions: MaskPredictions, image: int = 0, *, trust: float | str = 0.5, valid: bool = False
) -> ScoredMasks:
    return score_masks(
        predictions, image, seen=SEEN, alpha=0.4, beta=0.8, trust=trust, ensemble_on_valid_mask=valid
    )


def test_void_is_its_part_of_the_softmax_with_the_categories(predictions: MaskPredictions):
    joined = torch.cat([predictions.in_vocab_logits[1], predictions.void_logits[1][:, None]], dim=1)
    scored = score(predictions, 1)
    torch.testing.assert_close(scored.objectness_before, 1 - joined.softmax(-1)[:, -1])
    void_after = (1 - scored.objectness_before) * (1 - 0.5 * scored.clip_confidence)
    torch.testing.assert_close(scored.objectness, 1 - void_after)


def test_without_trust_objectness_is_the_networks_own(predictions: MaskPredictions):
    scored = score(predictions, trust=0.0)
    assert torch.equal(scored.objectness, scored.objectness_before)


def test_an_encoder_may_define_its_own_confidence(predictions: MaskPredictions):
    own = torch.rand(2, 5)
    scored, default = score(replace(predictions, clip_confidence=own), 1), score(predictions, 1)
    assert torch.equal(scored.clip_confidence, own[1])
    torch.testing.assert_close(1 - scored.objectness, (1 - scored.objectness_before) * (1 - 0.5 * own[1]))
    assert torch.equal(scored.category_probs, default.category_probs)


def test_certainty_counts_for_coat_even_where_the_ensemble_ignores_clip(predictions: MaskPredictions):
    everywhere, on_map_only = score(predictions), score(predictions, valid=True)
    assert torch.equal(everywhere.objectness, on_map_only.objectness)
    changed = (everywhere.category_probs != on_map_only.category_probs).any(-1)
    assert changed.tolist() == [False, False, True, False, False]


def test_probabilities_of_both_classifiers_come_on_request(predictions: MaskPredictions):
    assert score(predictions).in_vocab_probs is None
    assert score(predictions).out_vocab_probs is None
    scored = score_masks(
        predictions,
        1,
        seen=SEEN,
        alpha=0.4,
        beta=0.8,
        trust=0.5,
        ensemble_on_valid_mask=False,
        keep_classifier_probs=True,
    )
    assert torch.equal(scored.in_vocab_probs, predictions.in_vocab_logits[1].softmax(-1))
    assert torch.equal(scored.out_vocab_probs.amax(-1), scored.clip_confidence)


def test_half_precision_is_scored_in_single(predictions: MaskPredictions):
    half = replace(
        predictions,
        in_vocab_logits=predictions.in_vocab_logits.half(),
        out_vocab_logits=predictions.out_vocab_logits.half(),
        void_logits=predictions.void_logits.half(),
    )
    assert score(half).category_probs.dtype == score(half).objectness.dtype == torch.float32
    torch.testing.assert_close(score(half).objectness, score(predictions).objectness, rtol=0, atol=1e-2)


def test_class_probs_are_the_released_codes_and_sum_to_one():
    scored = make_scene(3, background=2).scored
    categories, void = class_probs(scored)
    torch.testing.assert_close(torch.cat([categories, void[:, None]], dim=1), plain_class_probs(scored))
    torch.testing.assert_close(categories.sum(-1) + void, torch.ones(6))


def test_adaptive_trust_goes_as_far_as_each_mask_is_stable(predictions: MaskPredictions):
    scored = score(predictions, trust="adaptive")
    stable = stability(predictions.mask_logits[0])
    void = (1 - scored.objectness_before) * (1 - stable * scored.clip_confidence)
    torch.testing.assert_close(scored.objectness, 1 - void)
    assert stable.unique().numel() > 1
