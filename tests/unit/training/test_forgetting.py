import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import tiny_clip
from ovrcoat.structures import ImageBatch
from ovrcoat.training.forgetting import UntouchedEncoder, compensation, distillation


@pytest.fixture
def images() -> ImageBatch:
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    return ImageBatch(pixels=pixels, valid_sizes=((64, 64), (64, 48)))


@pytest.mark.parametrize("pull", [distillation, compensation])
def test_nothing_is_forgotten_at_the_start_and_something_after_a_change(images: ImageBatch, pull):
    encoder = tiny_clip.make_network("resnet").encoder
    untouched = UntouchedEncoder(encoder)
    term = pull(encoder(images).dense, untouched(images), weight=2.0)
    assert term.value().item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in encoder.visual_trunk.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    changed = pull(encoder(images).dense, untouched(images), weight=2.0)
    assert changed.value().item() > 1e-3
    changed.value().backward()
    assert any(parameter.grad is not None for parameter in encoder.visual_trunk.parameters())
    assert all(parameter.grad is None for parameter in untouched.parameters())


def dense(seed: int) -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_distillation_is_a_mean_of_cosine_distances():
    now, before = dense(0), dense(1)
    wanted = 2 * (1 - F.cosine_similarity(now, before, dim=1)).mean()
    torch.testing.assert_close(distillation(now, before, weight=2.0).value(), wanted)


def test_compensation_compares_strips_of_pooled_positive_parts():
    """Written out: cells of 8, 4 and 2 pixels, summed along rows and along columns."""
    now, before = dense(0), dense(1)
    strips = []
    for side in (8, 4, 2):
        cells = [F.avg_pool2d(part.clamp(min=0), kernel_size=side) for part in (now, before)]
        strips.extend(tuple(cell.sum(dim=axis) for cell in cells) for axis in (2, 3))
    joined = [torch.cat(parts, dim=-1) for parts in zip(*strips, strict=True)]
    wanted = 0.1 * F.smooth_l1_loss(*joined)
    torch.testing.assert_close(compensation(now, before, weight=0.1).value(), wanted)


def test_negative_features_are_nobody_s_memory():
    now = dense(0)
    before = torch.where(now > 0, now, now - 1)
    assert compensation(now, before, weight=1.0).value() == 0


def test_the_copy_stays_frozen_and_shares_the_text_tower():
    encoder = tiny_clip.make_network("convnext").encoder
    untouched = UntouchedEncoder(encoder)
    assert untouched.encoder.text_tower is encoder.text_tower
    assert untouched.encoder.visual_trunk is not encoder.visual_trunk
    untouched.train()
    assert not any(module.training for module in untouched.modules())
    assert not any(parameter.requires_grad for parameter in untouched.parameters())
    assert all(parameter.requires_grad for parameter in encoder.visual_trunk.parameters())
