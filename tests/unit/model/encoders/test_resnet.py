"""CLIP's ResNet: attention pooling restricted to a mask, compared with PyTorch's attention."""

import pytest
import torch
from torch.nn import functional as F

from tiny_clip import make_network


@pytest.fixture(scope="module")
def encoder():
    return make_network("resnet").encoder


def attend_to(pooling, *, dense: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """One mask: only its cells are passed as keys, so that nothing needs to be masked."""
    grid = pooling.positional_embedding[1:].T.reshape(1, -1, 3, 3)
    grid = F.interpolate(grid, size=dense.shape[-2:], mode="bilinear", align_corners=False)
    keys = (dense + grid).flatten(2)[0].T[inside.flatten()][:, None]
    query = (dense.flatten(2).mean(dim=-1) + pooling.positional_embedding[0])[None]
    attended, _ = F.multi_head_attention_forward(
        query=query,
        key=keys,
        value=keys,
        embed_dim_to_check=keys.shape[-1],
        num_heads=pooling.num_heads,
        in_proj_weight=None,
        in_proj_bias=torch.cat([pooling.q_proj.bias, pooling.k_proj.bias, pooling.v_proj.bias]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0,
        out_proj_weight=pooling.c_proj.weight,
        out_proj_bias=pooling.c_proj.bias,
        use_separate_proj_weight=True,
        q_proj_weight=pooling.q_proj.weight,
        k_proj_weight=pooling.k_proj.weight,
        v_proj_weight=pooling.v_proj.weight,
        need_weights=False,
    )
    return attended[0, 0]


def test_each_mask_attends_to_its_own_pixels(encoder):
    dense = torch.randn(1, 128, 4, 5)
    inside = torch.rand(1, 3, 4, 5) > 0.5
    ours = encoder.attend_under_masks(dense, inside)
    for mask, embedding in zip(inside[0], ours[0], strict=True):
        expected = attend_to(encoder.visual_trunk.attnpool, dense=dense, inside=mask)
        torch.testing.assert_close(embedding, expected, rtol=1e-4, atol=1e-5)


def test_an_empty_mask_gives_the_bias_of_the_output_projection(encoder):
    inside = torch.zeros(1, 2, 4, 5, dtype=torch.bool)
    inside[:, 1, 0, 0] = True
    embeddings = encoder.attend_under_masks(torch.randn(1, 128, 4, 5), inside)
    assert torch.equal(embeddings[0, 0], encoder.visual_trunk.attnpool.c_proj.bias)
    assert not torch.equal(embeddings[0, 1], encoder.visual_trunk.attnpool.c_proj.bias)


def test_pooling_grid_sets_the_number_of_positions(encoder):
    assert encoder.visual_trunk.attnpool.positional_embedding.shape == (3 * 3 + 1, 128)
