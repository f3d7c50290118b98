"""Tables of weight names."""

import pytest

from ovrcoat.checkpoints.published_names import CLIP_NAMES, PUBLISHED_NAMES, our_name, reason_to_drop


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("void_embedding.weight", "text_classifier.void_embedding"),
        ("sem_seg_head.predictor.logit_scale", "text_classifier.logit_scale"),
        ("backbone.clip_model.logit_scale", "encoder.logit_scale"),
        ("sem_seg_head.pixel_decoder.layer_1.weight", "pixel_decoder.output.0.weight"),
        ("sem_seg_head.pixel_decoder.layer_1.norm.weight", "pixel_decoder.output.1.weight"),
        ("backbone.clip_model.visual.head.proj.weight", "encoder.head_projection.weight"),
    ],
)
def test_released_names(theirs, ours):
    assert our_name(theirs, PUBLISHED_NAMES) == ours


def test_a_pattern_must_match_the_whole_name():
    assert our_name("model.void_embedding.weight", PUBLISHED_NAMES) is None
    assert our_name("void_embedding.weight.more", PUBLISHED_NAMES) is None


def test_entries_of_openclip_that_are_not_weights_have_no_name():
    assert [our_name(key, CLIP_NAMES) for key in ("attn_mask", "input_resolution", "vocab_size")] == [
        None
    ] * 3


def test_reasons_to_drop():
    assert reason_to_drop("pixel_mean") == "constants that are part of the encoder"
    assert reason_to_drop("void_embedding.weight") is None
