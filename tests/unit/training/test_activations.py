import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

import tiny_clip
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.structures import CategoryEmbeddings, ImageBatch
from ovrcoat.training import activations
from ovrcoat.training.activations import recompute_activations
from ovrcoat.training.forward import Predictions, predict
from ovrcoat.training.stages import STAGES


def run(network: SegmentationNetwork) -> Predictions:
    """The logits of both classifiers for two images, with stochastic depth."""
    torch.manual_seed(3)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    embeddings = torch.eye(2, 16)
    return predict(
        network,
        ImageBatch(pixels=pixels, valid_sizes=((64, 64), (64, 48))),
        CategoryEmbeddings.shared(embeddings, torch.tensor([0, 1]), 2),
        with_clip=True,
    )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("family", "selected"),
    [
        *((family, {}) for family in tiny_clip.FAMILIES),
        ("convnext", {"selected_queries": 4}),
        ("convnext", {"selected_queries": 4, "local_masks": True}),
    ],
)
def test_losses_and_gradients_are_those_of_the_plain_network(
    family: str, stage: str, selected: dict[str, Any]
):
    plain = tiny_clip.make_network(family, **selected)
    saving = copy.deepcopy(plain)
    recompute_activations(saving)
    gradients = []
    for network in (plain, saving):
        trained = STAGES[stage].prepare(network)
        found = run(network)
        assert found.clip_logits is not None
        loss = sum(layer.mask_logits.square().mean() + layer.category_logits.mean() for layer in found.layers)
        (loss + found.clip_logits.square().mean()).backward()  # type: ignore[union-attr]
        gradients.append({name: parameter.grad for name, parameter in trained.items()})
    for name, expected in gradients[0].items():
        ours = gradients[1][name]
        assert (expected is None) == (ours is None), name
        if expected is not None and ours is not None:
            torch.testing.assert_close(ours, expected, msg=lambda text, name=name: f"{name}: {text}")


def test_nothing_is_computed_twice_without_a_backward_pass(monkeypatch: pytest.MonkeyPatch):
    calls: list[object] = []

    def count(forward: Callable[..., object], *args: object, use_reentrant: bool, **kwargs: object) -> object:
        calls.append(forward)
        return forward(*args, **kwargs)

    monkeypatch.setattr(activations, "checkpoint", count)
    network = tiny_clip.make_network("convnext")
    recompute_activations(network)
    STAGES["segmentation"].prepare(network)
    with torch.no_grad():
        run(network)
    assert not calls
    run(network)
    blocks = sum(len(stage.blocks) for stage in network.encoder.visual_trunk.stages)
    STAGES["ovr"].prepare(network)
    decoders = len(calls)
    assert decoders > 0
    run(network)
    assert len(calls) == 2 * decoders + blocks


def test_the_weights_keep_their_names():
    network = tiny_clip.make_network("convnext")
    names = list(network.state_dict())
    recompute_activations(network)
    assert list(network.state_dict()) == names


@pytest.mark.parametrize("stage", STAGES)
def test_much_less_is_kept(stage: str):
    kept = []
    for saves in (False, True):
        network = tiny_clip.make_network("convnext")
        if saves:
            recompute_activations(network)
        STAGES[stage].prepare(network)
        seen: dict[int, int] = {}

        def record(tensor: torch.Tensor, seen: dict[int, int] = seen) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
            found = run(network)
        kept.append(sum(size for place, size in seen.items() if place not in weights))
        del found
    assert kept[1] < kept[0] / 2
