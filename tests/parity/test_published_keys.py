"""The key lists of the published full-size files import completely, on the meta device."""

import json

import pytest
import torch

from ovrcoat.checkpoints.foreign import import_state
from ovrcoat.config import MaskDecoderConfig, PixelDecoderConfig, TextTransferConfig
from ovrcoat.errors import CheckpointError
from ovrcoat.model.encoders.presets import CLIP_ENCODERS

# file → (CLIP model, how many of its keys are left out)
FILES = {
    "fcclip_convnext_large": ("convnext_large_d_320", 1),
    "fcclip_rn50": ("RN50", 1),
    "ovrcoat_convnext_large": ("convnext_large_d_320", 544),
    "maftplus_convnext_large_panoptic": ("convnext_large_d_320", 544),
}


def published(name: str, shared_fixtures) -> dict[str, torch.Tensor]:
    file = "maft/checkpoint_keys_maft.json" if name.startswith("maftplus") else "checkpoint_keys.json"
    if not (shared_fixtures / file).is_file():
        pytest.skip(f"optional list of keys not found: {file}")
    keys = json.loads((shared_fixtures / file).read_text())[name]["keys"]
    return {
        key: torch.empty(entry["shape"], dtype=getattr(torch, entry["dtype"]), device="meta")
        for key, entry in keys.items()
    }


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_used_or_dropped_for_a_reason(name, shared_fixtures):
    clip, dropped = FILES[name]
    state = published(name, shared_fixtures)
    model = import_state(state, source=name)
    assert model.filled == ()
    assert len(model.dropped) == dropped
    assert len(model.network.state_dict()) == len(state) - dropped
    assert model.config.encoder == CLIP_ENCODERS[clip]
    is_maft_plus = name.startswith("maftplus")
    assert model.config.pixel_decoder == PixelDecoderConfig()
    assert model.config.mask_decoder == MaskDecoderConfig(queries=100 if is_maft_plus else 250)
    assert model.config.text_transfer == (TextTransferConfig() if is_maft_plus else None)


@pytest.mark.parametrize("name", FILES)
def test_any_lost_key_is_named(name, shared_fixtures):
    state = published(name, shared_fixtures)
    del state["sem_seg_head.predictor.mask_embed.layers.1.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: mask_decoder\.mask_head\.layers\.1\.bias"):
        import_state(state, source=name)
