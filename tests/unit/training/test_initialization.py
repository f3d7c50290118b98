from pathlib import Path

import pytest
import torch

import tiny_clip
import tiny_training
from ovrcoat.checkpoints import native
from ovrcoat.config import OpenClipConfig, TextTransferConfig
from ovrcoat.errors import CheckpointError, ConfigError
from ovrcoat.model.encoders import presets
from ovrcoat.model.encoders.open_clip_models import OPEN_CLIP_MODELS, OpenClipModel
from ovrcoat.model.network import build_encoder
from ovrcoat.training import initialization
from ovrcoat.training.config import StartConfig
from ovrcoat.training.initialization import InitialModel, load_initial_model
from ovrcoat.vocabulary import Vocabulary

DECODERS = {
    "pixel_decoder": {"channels": 32, "mask_channels": 32, "layers": 1, "feed_forward": 16},
    "mask_decoder": {"channels": 32, "queries": 5, "layers": 3, "feed_forward": 16},
}


def begin(tmp_path: Path, *, seed: int = 0, **settings: object) -> InitialModel:
    return load_initial_model(StartConfig.model_validate(settings), base=tmp_path, seed=seed)


def test_a_model_next_to_the_configuration(tmp_path: Path):
    tiny_training.make_model(tmp_path / "tiny.safetensors")
    found = begin(tmp_path, model="tiny.safetensors")
    assert found.config.mask_decoder.queries == 5
    assert found.provenance == {"source": "random"}


def test_selected_queries_are_added_to_a_model(tmp_path: Path):
    tiny_training.make_model(tmp_path / "tiny.safetensors")
    before = begin(tmp_path, model="tiny.safetensors")
    found = begin(tmp_path, model="tiny.safetensors", selected_queries=4)
    again = begin(tmp_path, model="tiny.safetensors", selected_queries=4)
    assert before.config.mask_decoder.selected_queries == 0
    assert found.config.mask_decoder == before.config.mask_decoder.model_copy(update={"selected_queries": 4})
    state, expected = found.network.state_dict(), before.network.state_dict()
    assert {key.split(".")[1] for key in state.keys() - expected.keys()} == {"selector"}
    for key, value in expected.items():
        assert torch.equal(state[key], value), key
    for key, value in again.network.state_dict().items():
        assert torch.equal(state[key], value), key


def test_a_model_that_has_selected_queries_keeps_them(tmp_path: Path):
    native.save(
        tmp_path / "selected.safetensors",
        tiny_clip.make_network("convnext", selected_queries=4),
        config=tiny_clip.make_config("convnext", selected_queries=4),
        training_vocabulary=Vocabulary.parse("cat"),
        provenance={},
    )
    for count in (0, 4):
        found = begin(tmp_path, model="selected.safetensors", selected_queries=count)
        assert found.config.mask_decoder.selected_queries == 4
    with pytest.raises(ConfigError, match=r"selected_queries is 7, but the model has 4"):
        begin(tmp_path, model="selected.safetensors", selected_queries=7)


def test_masks_of_selected_queries_get_an_extent(tmp_path: Path):
    tiny_training.make_model(tmp_path / "tiny.safetensors")
    before = begin(tmp_path, model="tiny.safetensors", selected_queries=4)
    found = begin(tmp_path, model="tiny.safetensors", selected_queries=4, local_masks=True)
    assert found.config.mask_decoder == before.config.mask_decoder.model_copy(update={"local_masks": True})
    state, expected = found.network.state_dict(), before.network.state_dict()
    assert all("selector.extent." in key for key in state.keys() - expected.keys())
    for key, value in expected.items():
        assert torch.equal(state[key], value), key


def test_masks_that_have_an_extent_keep_it(tmp_path: Path):
    settings = {"selected_queries": 4, "local_masks": True}
    network = tiny_clip.make_network("convnext", **settings)
    native.save(
        tmp_path / "local.safetensors",
        network,
        config=tiny_clip.make_config("convnext", **settings),
        training_vocabulary=Vocabulary.parse("cat"),
        provenance={},
    )
    for local in (False, True):
        found = begin(tmp_path, model="local.safetensors", local_masks=local)
        assert found.config.mask_decoder.local_masks
        for key, value in found.network.state_dict().items():
            assert torch.equal(network.state_dict()[key], value), key


def test_without_selected_queries_masks_get_no_extent(tmp_path: Path):
    tiny_training.make_model(tmp_path / "tiny.safetensors")
    with pytest.raises(ConfigError, match=r"local_masks needs selected queries; set start.selected_queries"):
        begin(tmp_path, model="tiny.safetensors", local_masks=True)


def test_a_maft_plus_model_cannot_be_trained(tmp_path: Path):
    transfer = TextTransferConfig()
    native.save(
        tmp_path / "maftplus.safetensors",
        tiny_clip.make_network("convnext", transfer=transfer),
        config=tiny_clip.make_config("convnext", transfer=transfer),
        training_vocabulary=Vocabulary.parse("cat"),
        provenance={},
    )
    with pytest.raises(
        ConfigError, match=r"maftplus\.safetensors is a MAFT\+ model, which can be used but not"
    ):
        begin(tmp_path, model="maftplus.safetensors")


def test_a_model_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"there is no file missing\.safetensors"):
        begin(tmp_path, model="missing.safetensors")


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Lets "tiny" be a CLIP encoder, whose weights these are."""
    monkeypatch.setitem(presets.CLIP_ENCODERS, "tiny", tiny_clip.encoder_config("convnext"))
    state = {
        key: torch.full_like(value, 0.5)
        for key, value in tiny_clip.make_network("convnext").encoder.state_dict().items()
    }
    monkeypatch.setattr(initialization, "clip_encoder_state", lambda name, file: state)
    return state


def test_clip_s_weights_with_new_decoders(tmp_path: Path, encoder: dict[str, torch.Tensor]):
    first, second, other = (begin(tmp_path, clip="tiny", seed=seed, **DECODERS) for seed in (0, 0, 1))
    for found in (first, other):
        assert all(bool((value == 0.5).all()) for value in found.network.encoder.parameters())
    weight = "pixel_decoder.mask_projection.weight"
    assert torch.equal(first.network.state_dict()[weight], second.network.state_dict()[weight])
    assert not torch.equal(first.network.state_dict()[weight], other.network.state_dict()[weight])
    assert first.provenance == {"family": "convnext", "clip": "tiny"}
    assert first.config.mask_decoder.queries == 5


def test_weights_of_a_table_encoder_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trunk = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}
    text = {"text_width": 64, "text_layers": 1}
    entry = OpenClipModel("mobileclip", embedding_dim=16, settings=trunk | text, tag="none", license="none")
    monkeypatch.setitem(OPEN_CLIP_MODELS, "tiny", entry)
    encoder = build_encoder(OpenClipConfig(name="tiny", embedding_dim=16))
    state = {
        key.replace("visual_trunk.", "visual.trunk.").replace("text_tower.model.", "text."): value
        for key, value in encoder.state_dict().items()
    }
    torch.save(state, tmp_path / "clip.pt")
    found = begin(tmp_path, clip="tiny", clip_file="clip.pt", **DECODERS)
    for key, value in found.network.encoder.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[key]), key
    assert found.provenance == {"family": "open_clip", "clip": "tiny", "clip_license": "none"}


def test_an_unknown_encoder_and_weights_that_do_not_fit(tmp_path: Path, encoder: dict[str, torch.Tensor]):
    with pytest.raises(
        ConfigError, match=r"unknown CLIP encoder 'huge'; expected one of .*convnext_large_d_320"
    ):
        begin(tmp_path, clip="huge")
    encoder.pop("logit_scale")
    with pytest.raises(CheckpointError, match="the weights of tiny do not fit its architecture"):
        begin(tmp_path, clip="tiny", **DECODERS)
