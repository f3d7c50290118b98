"""Linear layers with a fused activation: the same numbers as PyTorch's separate operations."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ovrcoat.model import linear as module
from ovrcoat.model.linear import affine, linear, prepared

SEPARATE = {"none": lambda values: values, "relu": F.relu, "gelu": F.gelu}
has_fused = module._is_fused_supported(torch.float32)


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(48, 80)


@pytest.fixture(params=["fused", "separate"])
def operations(request, monkeypatch):
    if request.param == "separate":
        monkeypatch.setattr(module, "_is_fused_supported", lambda dtype: False)
    elif not has_fused:
        pytest.skip("this PyTorch has no fused linear operation of oneDNN")


@pytest.mark.parametrize("activation", SEPARATE)
@pytest.mark.parametrize("shape", [(5,), (2, 7), (2, 3, 4), (0,)])
@torch.inference_mode()
def test_equals_separate_operations(layer, operations, activation, shape):
    rows = torch.randn(*shape, 48)
    expected = SEPARATE[activation](F.linear(rows, layer.weight, layer.bias))
    torch.testing.assert_close(linear(rows, layer, activation=activation), expected)
    torch.testing.assert_close(affine(rows, layer.weight, layer.bias, activation=activation), expected)


@pytest.mark.parametrize("activation", SEPARATE)
@pytest.mark.parametrize("rows_at_all", [1, 200], ids=["few rows", "weights laid out"])
@torch.inference_mode()
def test_tiles_equal_the_whole(layer, operations, activation, rows_at_all):
    rows = torch.randn(200, 48)
    run = prepared(layer, like=rows, rows=rows_at_all, activation=activation)
    pieces = torch.cat([run(rows[start : start + 64]) for start in range(0, 200, 64)])
    torch.testing.assert_close(pieces, SEPARATE[activation](layer(rows)))


@torch.inference_mode()
def test_a_layer_without_bias(operations):
    layer = nn.Linear(48, 80, bias=False)
    rows = torch.randn(100, 48)
    torch.testing.assert_close(linear(rows, layer), rows @ layer.weight.T)
    torch.testing.assert_close(prepared(layer, like=rows, rows=100)(rows), rows @ layer.weight.T)


@torch.inference_mode()
def test_bfloat16(layer, operations):
    layer = layer.to(torch.bfloat16)
    rows = torch.randn(9, 48, dtype=torch.bfloat16)
    assert linear(rows, layer, activation="gelu").dtype == torch.bfloat16
    torch.testing.assert_close(linear(rows, layer, activation="gelu"), F.gelu(layer(rows)))


@torch.inference_mode()
def test_autocast_applies(layer):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(torch.randn(9, 48), layer).dtype == torch.bfloat16


def test_gradients_flow(layer):
    rows = torch.randn(9, 48, requires_grad=True)
    linear(rows, layer, activation="relu").sum().backward()
    assert rows.grad is not None
    assert layer.weight.grad is not None
