import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ovrcoat.config import (
    PUBLISHED_TEMPLATES,
    ClipTextConfig,
    ConvNextConfig,
    InferenceConfig,
    MaskDecoderConfig,
    ModelConfig,
    NanoConfig,
    PixelDecoderConfig,
    ResNetConfig,
    TextTransferConfig,
)

TEXT = ClipTextConfig(width=64, heads=1, layers=2)
CONVNEXT = ConvNextConfig(depths=(1, 1, 2, 1), widths=(8, 16, 32, 64), embedding_dim=16, text=TEXT)
RESNET = ResNetConfig(blocks=(1, 1, 1, 1), width=8, heads=4, embedding_dim=16, text=TEXT)


def test_defaults_are_the_published_values():
    inference = InferenceConfig()
    assert (inference.alpha, inference.beta, inference.trust) == (0.4, 0.8, 0.5)
    assert (inference.object_mask_threshold, inference.overlap_threshold) == (0.0, 0.7)
    assert (inference.short_side, inference.max_long_side) == (800, 1333)
    assert not inference.ensemble_on_valid_mask
    assert PixelDecoderConfig().feed_forward == 1024
    assert (MaskDecoderConfig().queries, MaskDecoderConfig().layers) == (250, 9)


def test_the_published_prompts():
    assert len(PUBLISHED_TEMPLATES) == len(set(PUBLISHED_TEMPLATES)) == 14
    assert all(template.count("{}") == 1 for template in PUBLISHED_TEMPLATES)
    assert sum(template.endswith(".") for template in PUBLISHED_TEMPLATES) == 7 + 3


@pytest.mark.parametrize("encoder", [CONVNEXT, RESNET, NanoConfig()], ids=["convnext", "resnet", "nano"])
def test_a_config_can_be_restored_from_json(encoder: ConvNextConfig | ResNetConfig | NanoConfig):
    config = ModelConfig(encoder=encoder, templates=("{}",))
    again = ModelConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert type(again.encoder) is type(encoder)


def test_settings_of_newer_families_are_stored_only_where_they_are_used():
    config = ModelConfig(encoder=CONVNEXT)
    assert "text_transfer" not in config.model_dump()
    later = {"semantic_at_input_size", "weight_by_stability"}
    assert later.isdisjoint(config.model_dump(mode="json")["inference"])
    assert "trust" not in config.inference.model_dump(exclude={"trust"})
    assert {"selected_queries", "local_masks"}.isdisjoint(config.model_dump()["mask_decoder"])
    used = ModelConfig(
        encoder=CONVNEXT,
        text_transfer=TextTransferConfig(arrangement="semantic"),
        inference=InferenceConfig(semantic_at_input_size=True, weight_by_stability=True),
        mask_decoder=MaskDecoderConfig(selected_queries=4, local_masks=True),
    )
    stored = used.model_dump(mode="json")
    assert stored["text_transfer"] == {"heads": 8, "arrangement": "semantic"}
    assert stored["inference"]["semantic_at_input_size"] is True
    assert stored["inference"]["weight_by_stability"] is True
    assert stored["mask_decoder"]["selected_queries"] == 4
    assert stored["mask_decoder"]["local_masks"] is True
    assert ModelConfig.model_validate(stored) == used


def test_local_masks_need_selected_queries():
    with pytest.raises(ValueError, match="local_masks is for selected queries, but selected_queries is 0"):
        MaskDecoderConfig(local_masks=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": RESNET}, "text_transfer needs a ConvNeXt encoder, but the family is 'resnet'"),
        (
            {"text_transfer": TextTransferConfig(heads=3)},
            "embedding_dim is 16, expected a multiple of 3",
        ),
        (
            {
                "encoder": CONVNEXT.model_copy(update={"embedding_dim": 6}),
                "text_transfer": TextTransferConfig(heads=2),
            },
            "embedding_dim is 6, expected a multiple of 4",
        ),
    ],
)
def test_a_text_transfer_that_cannot_be_built(settings: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**({"encoder": CONVNEXT, "text_transfer": TextTransferConfig()} | settings))


def test_an_unknown_key_is_an_error():
    with pytest.raises(ValidationError, match=r"gama\s+Extra inputs are not permitted"):
        InferenceConfig.model_validate({"gama": 0.5})
    with pytest.raises(ValidationError, match=r"encoder\.nano\.depth"):
        ModelConfig.model_validate({"encoder": {"family": "nano", "depth": 3}})


def test_an_unknown_family_is_an_error():
    with pytest.raises(ValidationError, match="'convnext', 'resnet', 'nano'"):
        ModelConfig.model_validate({"encoder": {"family": "vit"}})


def test_a_config_is_immutable():
    with pytest.raises(ValidationError, match="frozen"):
        InferenceConfig().trust = 0.1  # type: ignore[misc]


@settings(max_examples=30, deadline=None)
@given(st.integers(max_value=0) | st.integers(min_value=100_001) | st.just(2.5) | st.just("many"))
def test_malicious_sizes_are_rejected(size: object):
    with pytest.raises(ValidationError, match="queries"):
        MaskDecoderConfig.model_validate({"queries": size})
    with pytest.raises(ValidationError, match="widths"):
        ConvNextConfig.model_validate(CONVNEXT.model_dump() | {"widths": (8, 16, 32, size)})


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, math.inf, -math.inf, "half", None])
@pytest.mark.parametrize("name", ["alpha", "beta", "trust", "object_mask_threshold"])
def test_fractions_are_between_0_and_1(name: str, share: object):
    with pytest.raises(ValidationError, match=name):
        InferenceConfig.model_validate({name: share})


def test_wrong_numbers_of_stages_are_rejected():
    with pytest.raises(ValidationError, match="depths"):
        ConvNextConfig.model_validate(CONVNEXT.model_dump() | {"depths": (1, 2, 3)})
    with pytest.raises(ValidationError, match="blocks"):
        ResNetConfig.model_validate(RESNET.model_dump() | {"blocks": (1, 2, 3, 4, 5)})
