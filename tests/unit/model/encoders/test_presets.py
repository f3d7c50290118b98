"""The table of CLIP models compared with the models of timm and OpenCLIP."""

import pytest
import torch

from ovrcoat.config import ConvNextConfig, ModelConfig, ResNetConfig
from ovrcoat.model.encoders.presets import CLIP_ENCODERS, PRETRAINED_TAGS
from ovrcoat.model.network import build_network

CONVNEXTS = [name for name, preset in CLIP_ENCODERS.items() if isinstance(preset, ConvNextConfig)]
RESNETS = [name for name, preset in CLIP_ENCODERS.items() if isinstance(preset, ResNetConfig)]


def test_the_table_is_complete():
    assert len(CONVNEXTS) == 9
    assert RESNETS == ["RN50", "RN101", "RN50x4", "RN50x16", "RN50x64"]


@pytest.mark.parametrize("name", CLIP_ENCODERS)
def test_common_space_and_text_tower_equal_openclip(name):
    from open_clip import get_model_config

    preset, theirs = CLIP_ENCODERS[name], get_model_config(name)
    text = theirs["text_cfg"]
    assert preset.embedding_dim == theirs["embed_dim"]
    assert (preset.text.width, preset.text.heads, preset.text.layers) == (
        text["width"],
        text["heads"],
        text["layers"],
    )
    assert (preset.text.context_length, preset.text.vocabulary_size) == (
        text["context_length"],
        text["vocab_size"],
    )


@pytest.mark.parametrize("name", CONVNEXTS)
def test_convnext_trunks_equal_timm(name):
    import timm
    from open_clip import get_model_config

    preset, vision = CLIP_ENCODERS[name], get_model_config(name)["vision_cfg"]
    with torch.device("meta"):
        trunk = timm.create_model(vision["timm_model_name"])
    assert preset.depths == tuple(len(stage.blocks) for stage in trunk.stages)
    assert preset.widths == tuple(level["num_chs"] for level in trunk.feature_info)
    assert preset.norm_epsilon == trunk.head.norm.eps
    assert preset.drop_path == vision["timm_drop_path"]
    hidden = {"mlp": 2 * preset.embedding_dim, "linear": None}[vision["timm_proj"]]
    assert preset.head_hidden == hidden


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_equal_openai(name):
    from open_clip import get_model_config

    preset, vision = CLIP_ENCODERS[name], get_model_config(name)["vision_cfg"]
    assert preset.blocks == tuple(vision["layers"])
    assert preset.width == vision["width"]
    assert preset.heads == vision["width"] * 32 // 64  # OpenCLIP's rule
    assert preset.pooling_grid == vision["image_size"] // 32
    assert preset.text.activation == "quick_gelu"


@pytest.mark.parametrize("name", CLIP_ENCODERS)
def test_every_model_can_be_built_on_the_meta_device(name):
    with torch.device("meta"):
        network = build_network(ModelConfig(encoder=CLIP_ENCODERS[name]))
    assert all(weight.is_meta for weight in network.parameters())
    assert sum(weight.numel() for weight in network.parameters()) > 100_000_000


@pytest.mark.parametrize("name", PRETRAINED_TAGS)
def test_pretrained_tags_exist(name):
    from open_clip.pretrained import is_pretrained_cfg

    assert is_pretrained_cfg(name, PRETRAINED_TAGS[name])
