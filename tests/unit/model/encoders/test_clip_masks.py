"""Resizing of masks to CLIP's feature map."""

import torch

from ovrcoat.model.encoders.clip_masks import resize_logits


def test_a_constant_is_resized_to_the_feature_map():
    resized = resize_logits(torch.full((1, 2, 8, 12), 3.0), torch.zeros(1, 5, 2, 3))
    assert resized.shape == (1, 2, 2, 3)
    assert torch.equal(resized, torch.full((1, 2, 2, 3), 3.0))


def test_a_dot_between_sampled_pixels_vanishes():
    mask_logits = torch.full((1, 1, 16, 16), -1.0)
    mask_logits[..., 0, 0] = 5
    assert not (resize_logits(mask_logits, torch.zeros(1, 4, 2, 2)) > 0).any()


def test_no_gradient_flows_into_the_masks():
    mask_logits = torch.ones(1, 1, 8, 8, requires_grad=True)
    assert not resize_logits(mask_logits, torch.zeros(1, 4, 2, 2)).requires_grad
