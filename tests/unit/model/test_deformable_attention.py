import math

import pytest
import torch
from torch import Tensor

from ovrcoat.model.deformable_attention import DeformableAttention

SIZES = ((3, 5), (7, 2), (1, 1))
TOKENS = sum(height * width for height, width in SIZES)


def attention(*, heads: int = 2, levels: int = 3, points: int = 3) -> DeformableAttention:
    """Random weights, with offsets of several pixels, so that many samples are outside."""
    torch.manual_seed(0)
    module = DeformableAttention(8, heads=heads, levels=levels, points=points)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def read(level_map: Tensor, x: float, y: float) -> Tensor:
    """Bilinear sample at fractions (x, y) of a map (channel, height, width); pixels outside are zero."""
    _, height, width = level_map.shape
    column, row = x * width - 0.5, y * height - 0.5
    result = torch.zeros(len(level_map))
    for near_row in (math.floor(row), math.floor(row) + 1):
        for near_column in (math.floor(column), math.floor(column) + 1):
            if 0 <= near_row < height and 0 <= near_column < width:
                share = (1 - abs(row - near_row)) * (1 - abs(column - near_column))
                result += share * level_map[:, near_row, near_column]
    return result


def by_definition(
    module: DeformableAttention, queries: Tensor, values: Tensor, reference_points: Tensor
) -> Tensor:
    """Equation 3 of Deformable DETR for one image, written as loops."""
    count = len(queries)
    offsets = module.sampling_offsets(queries).view(count, module.heads, module.levels, module.points, 2)
    weights = module.attention_weights(queries).view(count, module.heads, -1).softmax(-1)
    weights = weights.view(count, module.heads, module.levels, module.points)
    split = module.value_proj(values).split([height * width for height, width in SIZES])
    maps = [tokens.T.reshape(-1, *size) for tokens, size in zip(split, SIZES, strict=True)]
    rows = []
    for query in range(count):
        heads = []
        for head in range(module.heads):
            total = torch.zeros(8 // module.heads)
            for level, (height, width) in enumerate(SIZES):
                channels = maps[level].chunk(module.heads)[head]
                for point in range(module.points):
                    right, down = offsets[query, head, level, point].tolist()
                    x = reference_points[query, 0].item() + right / width
                    y = reference_points[query, 1].item() + down / height
                    total = total + weights[query, head, level, point] * read(channels, x, y)
            heads.append(total)
        rows.append(torch.cat(heads))
    return module.output_proj(torch.stack(rows))


@torch.no_grad()
def test_equals_its_definition_on_odd_sizes_and_outside():
    module = attention()
    queries, values, places = torch.randn(2, 4, 8), torch.randn(2, TOKENS, 8), torch.rand(4, 2)
    result = module(queries, values, reference_points=places, sizes=SIZES)
    for index in range(2):
        expected = by_definition(module, queries[index], values[index], places)
        torch.testing.assert_close(result[index], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_samples_far_outside_count_as_zero():
    module = attention()
    module.sampling_offsets.weight.zero_()
    module.sampling_offsets.bias.fill_(100.0)
    places = torch.rand(4, 2)
    result = module(torch.randn(1, 4, 8), torch.randn(1, TOKENS, 8), reference_points=places, sizes=SIZES)
    torch.testing.assert_close(result, module.output_proj.bias.expand(1, 4, 8))


def test_initial_points_are_in_eight_directions_with_equal_weights():
    module = DeformableAttention(16, heads=8, levels=2, points=3)
    offsets = module.sampling_offsets.bias.detach().view(8, 2, 3, 2)
    for head, direction in enumerate([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]):
        for point in range(3):
            expected = torch.tensor(direction, dtype=torch.float32) * (point + 1)
            torch.testing.assert_close(offsets[head, :, point], expected.expand(2, 2), atol=1e-5, rtol=0)
    assert module.sampling_offsets.weight.abs().max() == 0
    assert module.attention_weights.weight.abs().max() == 0


@torch.no_grad()
def test_a_constant_map_stays_constant_away_from_the_border():
    module = DeformableAttention(8, heads=2, levels=1, points=2)
    value = torch.randn(8)
    center = torch.tensor([[0.5, 0.5]])
    result = module(torch.randn(1, 1, 8), value.expand(1, 81, 8), reference_points=center, sizes=((9, 9),))
    torch.testing.assert_close(result[0, 0], module.output_proj(module.value_proj(value)))


@torch.no_grad()
@pytest.mark.parametrize("batch", [2, 3])
def test_images_of_a_batch_do_not_influence_each_other(batch: int):
    module = attention()
    queries, values, places = torch.randn(batch, 4, 8), torch.randn(batch, TOKENS, 8), torch.rand(4, 2)
    together = module(queries, values, reference_points=places, sizes=SIZES)
    alone = [
        module(queries[index, None], values[index, None], reference_points=places, sizes=SIZES)
        for index in range(batch)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_gradients_reach_queries_and_values():
    queries = torch.randn(1, 4, 8, requires_grad=True)
    values = torch.randn(1, TOKENS, 8, requires_grad=True)
    attention()(queries, values, reference_points=torch.rand(4, 2), sizes=SIZES).sum().backward()
    assert queries.grad is not None
    assert values.grad is not None
    assert queries.grad.abs().sum() > 0
    assert values.grad.abs().sum() > 0


@pytest.mark.parametrize("batch", [1, 3])
def test_gathering_equals_sampling(batch: int):
    """Without gradients values are gathered. The results agree outside, on borders and between pixels."""
    module = attention()
    queries, values = torch.randn(batch, 5, 8), torch.randn(batch, TOKENS, 8)
    places = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.1, 0.9], [3.0, -2.0]])
    sampled = module(queries, values, reference_points=places, sizes=SIZES)
    assert sampled.requires_grad
    with torch.no_grad():
        gathered = module(queries, values, reference_points=places, sizes=SIZES)
    torch.testing.assert_close(gathered, sampled, rtol=1e-4, atol=1e-5)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rough = module(queries, values, reference_points=places, sizes=SIZES)
    torch.testing.assert_close(rough.float(), gathered, rtol=0.1, atol=0.5)


@torch.inference_mode()
def test_bfloat16_is_close_to_float32_with_many_queries():
    """Enough queries for reordered weights and for more than one tile."""
    torch.manual_seed(0)
    module = DeformableAttention(64, heads=4, levels=2, points=3)
    sizes, queries = ((40, 60), (20, 30)), torch.randn(2, 3000, 64)
    places = torch.rand(3000, 2)
    exact = module(queries, queries, reference_points=places, sizes=sizes)
    rounded = queries.bfloat16()
    found = module.bfloat16()(rounded, rounded, reference_points=places, sizes=sizes)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, atol=0.05, rtol=0.05)
