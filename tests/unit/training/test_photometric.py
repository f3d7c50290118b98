import pytest
import torch
from torch import Tensor

from ovrcoat.training.augmentation_config import PhotometricConfig
from ovrcoat.training.crops import Crop
from ovrcoat.training.losses import Targets
from ovrcoat.training.photometric import Photometric, blurred, compress, darken, remove_color, soften

NEVER = {"gray": 0.0, "dark": 0.0, "blur": 0.0, "jpeg": 0.0}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def image(height: int = 24, width: int = 40) -> Tensor:
    """Colored noise, 0..255."""
    return 255 * torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def crop() -> Crop:
    """An image of 24 × 40 in a crop of 40 × 40."""
    pixels = torch.zeros(3, 40, 40)
    pixels[:, :24] = image()
    masks = torch.zeros(1, 40, 40, dtype=torch.bool)
    targets = Targets(masks, torch.zeros(1, dtype=torch.long), labeled=torch.ones(40, 40, dtype=torch.bool))
    return Crop("image.jpg", pixels, (24, 40), targets)


def test_nothing_happens_without_settings():
    source = crop()
    assert Photometric(PhotometricConfig(**NEVER))(source) is source


@pytest.mark.parametrize("change", ["gray", "dark", "blur", "jpeg"])
def test_each_change_keeps_labels_padding_and_range(change: str):
    source = crop()
    changed = Photometric(PhotometricConfig(**NEVER | {change: 1.0}))(source)
    assert changed.targets is source.targets
    assert not torch.equal(changed.pixels, source.pixels)
    assert not changed.pixels[:, 24:].any(), "the padding stays zero"
    assert changed.pixels.min() >= 0
    assert changed.pixels.max() <= 255.001


def test_probabilities_are_those_of_the_settings():
    change = Photometric(PhotometricConfig(**NEVER | {"gray": 0.3}))
    source = crop()
    changed = sum(change(source) is not source for _ in range(200))
    assert 40 < changed < 80  # 60 expected, deviation 6.5


def test_the_same_seed_gives_the_same_crop():
    settings = PhotometricConfig(gray=0.5, dark=0.5, blur=0.5, jpeg=0.5)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(Photometric(settings)(crop()).pixels)
    assert torch.equal(*results)


def test_gray_has_equal_channels_and_keeps_brightness():
    gray = remove_color(image())
    assert torch.equal(gray[0], gray[1])
    assert torch.equal(gray[0], gray[2])
    white = remove_color(torch.full((3, 2, 2), 255.0))
    assert white.allclose(torch.full((3, 2, 2), 255.0))


def test_dark_is_darker():
    assert darken(image()).mean() < 0.9 * image().mean()


def test_blur_smooths_and_keeps_the_mean():
    soft = soften(image())
    assert soft.std() < image().std()
    assert soft.mean() == pytest.approx(float(image().mean()), rel=0.05)


def test_a_flat_image_is_not_changed_by_blur():
    flat = torch.full((3, 9, 9), 100.0)
    torch.testing.assert_close(blurred(flat, sigma=1.5), flat)


def test_jpeg_is_near_the_image():
    ramp = torch.linspace(0, 255, 64).expand(3, 64, 64)
    assert (compress(ramp) - ramp).abs().mean() < 12


def test_all_changes_draw_the_same_number_of_random_values():
    """So that switching one on does not change which crops another one changes."""
    seen = []
    for more in ({}, {"blur": 1.0}):
        torch.manual_seed(5)
        change = Photometric(PhotometricConfig(**NEVER | {"gray": 0.5} | more))
        pixels = change(crop()).pixels
        seen.append(torch.equal(pixels[0], pixels[1]))
    assert seen[0] == seen[1]
