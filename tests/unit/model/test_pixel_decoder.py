import pytest
import torch
from torch.nn import functional as F

from ovrcoat.model.pixel_decoder import DeformableLayer, PixelDecoder, pixel_centers
from ovrcoat.structures import EncoderFeatures

CHANNELS = (3, 4, 5, 6)  # of the encoder's levels


def decoder(layers: int = 2) -> PixelDecoder:
    torch.manual_seed(0)
    return PixelDecoder(
        CHANNELS, channels=32, mask_channels=8, layers=layers, heads=2, points=2, feed_forward=16
    ).eval()


def encoder_features(batch: int = 1, *, height: int = 2, width: int = 3) -> EncoderFeatures:
    """Random features of an image of 32·height × 32·width pixels."""
    maps = [
        torch.randn(batch, channels, height * scale, width * scale)
        for channels, scale in zip(CHANNELS, (8, 4, 2, 1), strict=True)
    ]
    stride4, stride8, stride16, stride32 = maps
    return EncoderFeatures(levels=(stride4, stride8, stride16, stride32), clip_features=stride32)


def test_pixel_centers_are_x_then_y_row_by_row():
    centers = pixel_centers((2, 4), device=torch.device("cpu"))
    assert centers.tolist() == [[x, y] for y in (0.25, 0.75) for x in (0.125, 0.375, 0.625, 0.875)]


@torch.no_grad()
def test_levels_are_coarse_first_and_mask_features_have_stride_4():
    result = decoder()(encoder_features(2))
    assert [level.shape for level in result.multi_scale_features] == [
        (2, 32, 2, 3),
        (2, 32, 4, 6),
        (2, 32, 8, 12),
    ]
    assert result.mask_features.shape == (2, 8, 16, 24)


@torch.no_grad()
def test_without_layers_the_output_is_the_projected_levels():
    """Splitting the tokens into levels again returns every pixel to its position."""
    module, features = decoder(layers=0), encoder_features()
    memory = module(features).multi_scale_features
    for index, level in enumerate(memory):
        torch.testing.assert_close(level, module.input_projections[index](features.levels[3 - index]))


@torch.no_grad()
def test_stride_4_joins_by_one_pyramid_step():
    module, features = decoder(), encoder_features()
    result = module(features)
    upsampled = F.interpolate(
        result.multi_scale_features[-1], scale_factor=2, mode="bilinear", align_corners=False
    )
    joined = module.output(module.lateral(features.levels[0]) + upsampled)
    torch.testing.assert_close(result.mask_features, module.mask_projection(joined))


@torch.no_grad()
@pytest.mark.parametrize("level", [1, 2, 3])
def test_every_coarse_level_influences_all_levels(level: int):
    module, features = decoder(), encoder_features()
    before = module(features)
    features.levels[level].mul_(-1)
    after = module(features)
    for old, new in zip(before.multi_scale_features, after.multi_scale_features, strict=True):
        assert not torch.allclose(old, new)


@torch.no_grad()
def test_stride_4_does_not_influence_the_coarse_levels():
    module, features = decoder(), encoder_features()
    before = module(features)
    features.levels[0].mul_(-1)
    after = module(features)
    for old, new in zip(before.multi_scale_features, after.multi_scale_features, strict=True):
        torch.testing.assert_close(new, old)
    assert not torch.allclose(before.mask_features, after.mask_features)


@torch.no_grad()
def test_images_of_a_batch_do_not_influence_each_other():
    module, both = decoder(), encoder_features(2)
    together = module(both)
    for index in range(2):
        stride4, stride8, stride16, stride32 = (level[index, None] for level in both.levels)
        alone = module(EncoderFeatures(levels=(stride4, stride8, stride16, stride32), clip_features=stride32))
        torch.testing.assert_close(
            together.mask_features[index, None], alone.mask_features, atol=1e-5, rtol=1e-4
        )


@torch.no_grad()
def test_positions_do_not_enter_the_values():
    """Initially every token samples fixed locations with equal weights, so positions change nothing."""
    layer = DeformableLayer(32, heads=2, levels=1, points=2, feed_forward=16)
    tokens, centers = torch.randn(1, 6, 32), pixel_centers((2, 3), device=torch.device("cpu"))
    results = [
        layer(tokens, positions=positions, reference_points=centers, sizes=((2, 3),))
        for positions in (torch.zeros(1, 6, 32), torch.randn(1, 6, 32))
    ]
    torch.testing.assert_close(results[0], results[1])


def test_biases_are_initialized_with_zero():
    module = decoder()
    for name, parameter in module.named_parameters():
        if (name.endswith("0.bias") and "input_projections" in name) or name == "mask_projection.bias":
            assert parameter.abs().max() == 0, name


@torch.inference_mode()
def test_bfloat16_does_not_move_the_sampling_locations():
    """Beyond 128, bfloat16 cannot represent half pixels, so locations must not be stored in it."""
    torch.manual_seed(0)
    module = PixelDecoder(
        (8, 8, 8, 8), channels=32, mask_channels=8, layers=1, heads=2, points=2, feed_forward=16
    )
    slope = torch.randn(1, 32, 1, 1) * torch.linspace(-8, 8, 240)  # half a pixel beside is another value
    maps = [slope[..., ::4], slope[..., ::2], slope]
    exact = module.mix(maps)[-1]
    found = module.bfloat16().mix([level.bfloat16() for level in maps])[-1].float()
    errors = (found - exact).abs().mean(dim=(0, 1, 2))
    assert errors[140:].mean() < 1.3 * errors[:100].mean()
