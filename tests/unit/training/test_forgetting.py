import pytest
import torch

import tiny_clip
from ovrcoat.structures import ImageBatch
from ovrcoat.training.forgetting import UntouchedEncoder


@pytest.fixture
def images() -> ImageBatch:
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    return ImageBatch(pixels=pixels, valid_sizes=((64, 64), (64, 48)))


def test_nothing_is_forgotten_at_the_start_and_something_after_a_change(images: ImageBatch):
    encoder = tiny_clip.make_network("resnet").encoder
    untouched = UntouchedEncoder(encoder)
    features = encoder(images)
    term = untouched.distillation(images, features, weight=2.0)
    assert term.value().item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for parameter in encoder.visual_trunk.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    changed = untouched.distillation(images, encoder(images), weight=2.0)
    assert 0 < changed.value().item() <= 4
    changed.value().backward()
    assert any(parameter.grad is not None for parameter in encoder.visual_trunk.parameters())
    assert all(parameter.grad is None for parameter in untouched.parameters())


def test_the_copy_stays_frozen_and_shares_the_text_tower():
    encoder = tiny_clip.make_network("convnext").encoder
    untouched = UntouchedEncoder(encoder)
    assert untouched.encoder.text_tower is encoder.text_tower
    assert untouched.encoder.visual_trunk is not encoder.visual_trunk
    untouched.train()
    assert not any(module.training for module in untouched.modules())
    assert not any(parameter.requires_grad for parameter in untouched.parameters())
    assert all(parameter.requires_grad for parameter in encoder.visual_trunk.parameters())
