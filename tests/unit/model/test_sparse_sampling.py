import pytest
import torch
from torch import Tensor

from ovrcoat.model import sparse_sampling
from ovrcoat.model.deformable_attention import DeformableAttention, _sample
from ovrcoat.model.sparse_sampling import may_use_sparse, products_at, sparse_sample, transposed_product

SIZES = ((3, 5), (7, 2), (1, 1))
TOKENS = sum(height * width for height, width in SIZES)
BATCH, QUERIES, HEADS, POINTS = 2, 6, 2, 3


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values, offsets of several pixels (many samples lie outside), weights, reference points."""
    torch.manual_seed(0)
    shape = (BATCH, QUERIES, HEADS, len(SIZES), POINTS)
    values = torch.randn(BATCH, TOKENS, 8, requires_grad=True)
    offsets = (3 * torch.randn(*shape, 2)).requires_grad_()
    weights = torch.rand(shape, requires_grad=True)
    return values, offsets, weights, torch.rand(QUERIES, 2)


def test_result_and_gradients_equal_those_of_grid_sample():
    values, offsets, weights, centers = inputs()
    results = [
        sample(values, offsets, weights, reference_points=centers, sizes=SIZES)
        for sample in (_sample, sparse_sample)
    ]
    torch.testing.assert_close(results[1], results[0], atol=1e-5, rtol=1e-5)
    direction = torch.randn_like(results[0])
    expected, found = (
        torch.autograd.grad(result, (values, offsets, weights), direction) for result in results
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_samples_far_outside_give_zero_and_no_gradient():
    values, offsets, weights, centers = inputs()
    far = (offsets.detach() + 100).requires_grad_()
    result = sparse_sample(values, far, weights, reference_points=centers, sizes=SIZES)
    assert not result.any()
    (gradient,) = torch.autograd.grad(result.sum(), far)
    assert not gradient.any()


def test_values_in_bfloat16_are_summed_in_float32():
    values, offsets, weights, centers = inputs()
    result = sparse_sample(values.bfloat16(), offsets, weights, reference_points=centers, sizes=SIZES)
    assert result.dtype == torch.float32


def test_frozen_values_get_no_gradient():
    values, offsets, weights, centers = inputs()
    result = sparse_sample(values.detach(), offsets, weights, reference_points=centers, sizes=SIZES)
    result.sum().backward()
    assert values.grad is None
    assert weights.grad is not None


def test_products_are_the_same_without_mkl(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    index = torch.randint(5, (4, 3), dtype=torch.int32)
    gradient, rows = torch.randn(4, 8), torch.randn(5, 8)
    expected = (rows[index.long()] * gradient[:, None]).sum(dim=-1)
    torch.testing.assert_close(products_at(index, gradient, rows), expected)
    monkeypatch.setattr(sparse_sampling.torch.backends.mkl, "is_available", lambda: False)
    torch.testing.assert_close(products_at(index, gradient, rows), expected)


def test_the_transposed_product_adds_to_every_row_that_was_read():
    index = torch.tensor([[0, 0], [2, 0]], dtype=torch.int32)
    coefficients = torch.tensor([[0.5, 0.25], [1.0, 2.0]])
    gradient = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
    result = transposed_product(index, coefficients, gradient, rows=3)
    assert result.tolist() == [[200.75, 2007.5], [0.0, 0.0], [100.0, 1000.0]]


def test_attention_uses_it_in_training_on_a_cpu(monkeypatch: pytest.MonkeyPatch):
    module = DeformableAttention(8, heads=HEADS, levels=len(SIZES), points=POINTS)
    tokens = torch.randn(1, TOKENS, 8)
    centers = torch.rand(TOKENS, 2)
    expected = module(tokens, tokens, reference_points=centers, sizes=SIZES)
    target = "ovrcoat.model.deformable_attention.may_use_sparse"
    monkeypatch.setattr(target, lambda values: False)
    torch.testing.assert_close(
        module(tokens, tokens, reference_points=centers, sizes=SIZES), expected, atol=1e-5, rtol=1e-5
    )


def test_compiled_code_and_other_devices_do_not_use_it(monkeypatch: pytest.MonkeyPatch):
    assert may_use_sparse(torch.zeros(1))
    assert not may_use_sparse(torch.zeros(1, device="meta"))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not may_use_sparse(torch.zeros(1))
