import re

import pytest
import torch
from torch import nn

import tiny_clip
from ovrcoat.config import MaskDecoderConfig, ModelConfig, NanoConfig, PixelDecoderConfig
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.training.config import DataConfig, OvrConfig, ScheduleConfig, StageConfig
from ovrcoat.training.stages import STAGES, parameter_groups, stage_of

# What trains, by the beginning of its name, in nano: written apart from the rule that chooses it.
DECODERS = {"pixel_decoder", "mask_decoder", "text_classifier"}
NANO_TRAINS = {
    "segmentation": DECODERS,
    "ovr": DECODERS | {"encoder.visual_trunk", "encoder.logit_scale"},
}
NANO_FROZEN = {
    "segmentation": {
        "encoder.visual_trunk",
        "encoder.projection",
        "encoder.text_tower",
        "encoder.logit_scale",
    },
    "ovr": {"encoder.projection", "encoder.text_tower"},
}


@pytest.fixture(scope="module")
def nano() -> SegmentationNetwork:
    """nano's architecture without values."""
    with torch.device("meta"):
        return build_network(
            ModelConfig(
                encoder=NanoConfig(),
                pixel_decoder=PixelDecoderConfig(channels=128, mask_channels=128, layers=3),
                mask_decoder=MaskDecoderConfig(channels=128, layers=6, queries=100),
            )
        )


def part(name: str) -> str:
    first, second, *_ = name.split(".")
    return f"{first}.{second}" if first == "encoder" else first


@pytest.mark.parametrize("stage", STAGES)
def test_the_trained_and_frozen_parts_of_nano_are_these(nano: SegmentationNetwork, stage: str):
    trained = STAGES[stage].prepare(nano)
    assert {part(name) for name in trained} == NANO_TRAINS[stage]
    frozen = {name for name, parameter in nano.named_parameters() if not parameter.requires_grad}
    assert {part(name) for name in frozen} == NANO_FROZEN[stage]
    assert trained.keys() | frozen == dict(nano.named_parameters()).keys()
    grouped = parameter_groups(nano, STAGES[stage], learning_rate=1.0, weight_decay=0.5)
    names = [name for group in grouped for name in group["names"]]  # type: ignore[attr-defined]
    assert sorted(names) == sorted(trained)


def test_counts_of_trained_parameters_of_nano(nano: SegmentationNetwork):
    counts = {
        name: sum(value.numel() for value in stage.prepare(nano).values()) for name, stage in STAGES.items()
    }
    trunk = sum(parameter.numel() for parameter in nano.encoder.visual_trunk.parameters())
    assert counts["ovr"] - counts["segmentation"] == trunk + 1  # and CLIP's temperature
    assert 4_000_000 < trunk < 5_000_000


@pytest.mark.parametrize("family", tiny_clip.FAMILIES)
@pytest.mark.parametrize("stage", STAGES)
def test_frozen_modules_are_in_eval_mode_and_batch_norm_always_is(family: str, stage: str):
    network = tiny_clip.make_network(family)
    STAGES[stage].prepare(network)
    assert network.pixel_decoder.training
    assert network.mask_decoder.training
    assert network.encoder.visual_trunk.training == (stage == "ovr")
    for name, module in network.encoder.named_children():
        if name != "visual_trunk":
            assert not any(inner.training for inner in module.modules()), name
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert (family == "resnet") == bool(norms)
    assert not any(norm.training for norm in norms)


def test_the_encoder_learns_slower_and_norms_and_looked_up_rows_do_not_decay():
    network = tiny_clip.make_network("convnext")
    groups = parameter_groups(network, STAGES["ovr"], learning_rate=1e-4, weight_decay=0.05)
    settings = {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}  # type: ignore[attr-defined]
    assert settings["encoder.visual_trunk.stem.0.weight"] == pytest.approx((1e-5, 0.05))
    assert settings["encoder.visual_trunk.stem.1.weight"] == pytest.approx((1e-5, 0.0))
    assert settings["pixel_decoder.mask_projection.weight"] == (1e-4, 0.05)
    assert settings["pixel_decoder.level_embedding"] == (1e-4, 0.05)  # as in the released code
    undecayed = {name for name, (_, decay) in settings.items() if decay == 0}
    assert {"mask_decoder.query_features", "text_classifier.void_embedding"} <= undecayed
    assert all(
        re.search(
            r"norm|query_|level_embedding|void_embedding|\.stem\.1|downsample\.0|_projection\.0|\.1\.", name
        )
        for name in undecayed
    )


def stage_config(ovr: OvrConfig | None) -> StageConfig:
    return StageConfig(name="x", data=(DataConfig(path="x"),), schedule=ScheduleConfig(steps=1), ovr=ovr)


def test_a_configuration_becomes_a_stage():
    assert stage_of(stage_config(None)) == STAGES["segmentation"]
    assert stage_of(stage_config(OvrConfig())) == STAGES["ovr"]
    other = stage_of(stage_config(OvrConfig(weight=0.3, encoder_lr_multiplier=0.5, train_temperature=False)))
    assert other.encoder_parts == ("visual_trunk",)
    assert (other.encoder_lr_multiplier, other.ovr_weight) == (0.5, 0.3)
    network = tiny_clip.make_network("convnext")
    assert "encoder.logit_scale" not in other.prepare(network)
    assert "text_classifier.logit_scale" in other.prepare(network)
