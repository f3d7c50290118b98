"""Detection of configurations from shapes."""

import pytest
import torch

from ovrcoat.checkpoints.architecture import WeightShapes, detect, fitting_preset
from ovrcoat.config import ModelConfig
from ovrcoat.errors import CheckpointError
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.network import build_network
from tiny_clip import FAMILIES, make_config, make_network


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def full_size(name: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes_of(build_network(ModelConfig(encoder=CLIP_ENCODERS[name])))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_network_is_detected(family):
    assert detect(shapes_of(make_network(family)), source="file") == make_config(family)


@pytest.mark.parametrize("name", CLIP_ENCODERS)
def test_every_clip_model_is_detected(name):
    shapes = full_size(name)
    assert detect(shapes, source="file") == ModelConfig(encoder=CLIP_ENCODERS[name])
    without_clip = {key: shape for key, shape in shapes.items() if not key.startswith("encoder.")}
    found = CLIP_ENCODERS[fitting_preset(WeightShapes(without_clip, source="file"))]
    assert found.embedding_dim == CLIP_ENCODERS[name].embedding_dim
    assert type(found) is type(CLIP_ENCODERS[name])


def test_the_published_model_is_preferred():
    shapes = {
        key: shape for key, shape in full_size("convnext_large").items() if not key.startswith("encoder.")
    }
    assert fitting_preset(WeightShapes(shapes, source="file")) == "convnext_large_d_320"


def test_a_missing_weight_is_named():
    with pytest.raises(
        CheckpointError, match=r"file: the weight that corresponds to pixel_decoder\.\S+ is missing"
    ):
        detect({}, source="file")
