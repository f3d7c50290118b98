"""Strict assignment of weights."""

import weakref

import pytest
import torch
from torch import nn

from ovrcoat.checkpoints.fitting import assign, assign_parts, check_finite, check_fit, listing
from ovrcoat.errors import CheckpointError


def test_weights_become_float32_and_integers_stay():
    with torch.device("meta"):
        network = nn.BatchNorm1d(2)
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in nn.BatchNorm1d(2).state_dict().items()
    }
    assign(network, state, source="file")
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}
    assert not any(value.is_meta for value in network.state_dict().values())


def test_names_of_the_file_are_used():
    with pytest.raises(
        CheckpointError, match=r"published\.pth does not match.*theirs\.weight is \(3,\), expected \(2, 2\)"
    ):
        check_fit(
            nn.Linear(2, 2, bias=False),
            {"weight": torch.zeros(3)},
            source="published.pth",
            names={"weight": "theirs.weight"},
        )


def test_all_kinds_of_mismatch_are_reported_at_once():
    with pytest.raises(CheckpointError, match=r"1 unknown: odd; 1 missing: bias; 1 of another shape: weight"):
        check_fit(nn.Linear(2, 2), {"weight": torch.zeros(3), "odd": torch.zeros(1)}, source="file")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_non_finite_weights_are_named(value):
    weights = {
        "good": torch.ones(3),
        "bad": torch.tensor([1, value]),
        "empty": torch.ones(0),
        "count": torch.ones(2).int(),
    }
    with pytest.raises(CheckpointError, match="in 1 weights: bad"):
        check_finite(weights, "file")


def test_large_but_finite_values_pass():
    check_finite({"large": torch.full((10,), torch.finfo(torch.float32).max)}, "file")
    assert torch.isfinite(torch.tensor(torch.finfo(torch.float32).max))


def test_long_lists_are_truncated():
    assert listing(["a", "b"]) == "a, b"
    assert listing([str(number) for number in range(25)]).endswith("18, 19 and 5 more")


def test_a_part_is_released_before_the_next_is_converted():
    class Watched(list):
        def pop(self, place):
            kept.append([alive() is not None for alive in taken])
            part = super().pop(place)
            taken.extend(weakref.ref(value) for value in part.values())
            return part

    taken, kept = [], []
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).bfloat16()
    state = {key: torch.randn(value.shape) for key, value in network.state_dict().items()}
    expected = {key: value.bfloat16() for key, value in state.items()}
    parts = Watched({key: state.pop(key) for key in list(state) if key.startswith(first)} for first in "10")
    assign_parts(network, parts, source="file")
    assert kept == [[], [False, False]]
    assert parts == []
    assert all(torch.equal(network.state_dict()[key], value) for key, value in expected.items())


def test_missing_weights_are_reported_before_anything_changes():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = network[0].weight.clone()
    with pytest.raises(CheckpointError, match=r"1 missing: 1\.bias"):
        assign_parts(
            network,
            [{"0.weight": before + 1, "0.bias": torch.zeros(3)}, {"1.weight": torch.zeros(1, 3)}],
            source="file",
        )
    assert torch.equal(network[0].weight, before)


def test_non_finite_weights_of_every_part_are_named():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = {key: torch.full_like(value, torch.nan) for key, value in network.state_dict().items()}
    parts = [{key: value for key, value in state.items() if key.startswith(first)} for first in "01"]
    with pytest.raises(CheckpointError, match=r"in 4 weights: 0\.weight, 0\.bias, 1\.weight, 1\.bias"):
        assign_parts(network, parts, source="file")


def test_a_buffer_that_is_never_stored_does_not_stay_uninitialized():
    network = nn.Linear(2, 2)
    network.register_buffer("table", torch.zeros(2), persistent=False)
    with pytest.raises(AssertionError):
        assign(network, nn.Linear(2, 2).state_dict(), source="file")
