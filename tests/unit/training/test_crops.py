import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ovrcoat.data.truth import PanopticTruth
from ovrcoat.formats.annotations import SegmentAnnotation
from ovrcoat.training.config import CropConfig
from ovrcoat.training.crops import MIN_MASK_AREA, Crop, Cropper, LabeledImage, collate
from ovrcoat.training.losses import UNNAMED

COLORS = {0: 0, 3: 80, 700: 160, 70_000: 240}  # gray value of each segment id
CATEGORY_OF = {3: 11, 700: 12, 70_000: 13}
NUMBERS = {11: 0, 12: 1}  # 13 is no training class


def labeled(id_map: np.ndarray, *, listed: tuple[int, ...], crowds: tuple[int, ...] = ()) -> LabeledImage:
    """An image whose gray values identify its segments. Every unlabeled pixel is void."""
    gray = np.vectorize(COLORS.__getitem__)(id_map).astype(np.uint8)
    segments = tuple(SegmentAnnotation(id, CATEGORY_OF[id], 0, id in crowds) for id in listed)
    truth = PanopticTruth(id_map, segments)
    return LabeledImage("photo.jpg", np.stack([gray] * 3, axis=-1), truth, all_labeled=True)


def image(
    height: int = 40,
    width: int = 60,
    *,
    listed: tuple[int, ...] = (3, 700, 70_000),
    crowds: tuple[int, ...] = (),
) -> LabeledImage:
    """A corner without label, three segments."""
    id_map = np.full((height, width), 3, dtype=np.int32)
    id_map[: height // 2, width // 3 :] = 700
    id_map[height // 3 :, width // 2 :] = 70_000
    id_map[: height // 4, : width // 4] = 0
    return labeled(id_map, listed=listed, crowds=crowds)


def unknown(source: LabeledImage) -> LabeledImage:
    """The same image with unknown unlabeled pixels."""
    return dataclasses.replace(source, all_labeled=False)


def cropper(size: int = 32, *, scales: tuple[float, float] = (0.8, 1.8), **more: Any) -> Cropper:
    """Without color jitter, so that colors still identify the segments."""
    chosen = CropConfig(size=size, scales=scales, **{"fit": "short side", **more})
    return Cropper(chosen, category_map=NUMBERS)


def cut(maker: Cropper, source: LabeledImage, *, seed: int) -> Crop:
    torch.manual_seed(seed)
    return maker(source)


def colors_of(crop: Crop, *, border: int = 0) -> list[tuple[int, torch.Tensor]]:
    """For each mask of `crop`, the gray value of its segment and the values of its pixels.

    Pixels nearer than `border` to the mask's edge are left out.
    """
    gray_of = {0: 80, 1: 160, UNNAMED: 240}
    found = []
    for mask, category in zip(crop.targets.masks, crop.targets.category_ids.tolist(), strict=True):
        outside = F.pad((~mask).float(), [border] * 4, value=1)
        inner = F.max_pool2d(outside[None], 2 * border + 1, stride=1)[0] == 0
        found.append((gray_of[category], crop.pixels[0][inner]))
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 60), st.integers(20, 60))
def test_masks_and_pixels_stay_together(seed: int, height: int, width: int):
    source = image(height, width)
    crop = cut(cropper(), source, seed=seed)
    for gray, values in colors_of(crop, border=2):  # where resizing blends colors
        assert values.numel() == 0 or (values - gray).abs().max() <= 2
    valid_height, valid_width = crop.valid_size
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[:valid_height, :valid_width] = False
    assert not crop.targets.labeled[outside].any()
    assert crop.targets.masks[:, outside].sum() == 0
    assert crop.pixels[:, outside].abs().sum() == 0


@pytest.mark.parametrize("seed", range(6))
def test_without_resizing_every_pixel_keeps_its_segment(seed: int):
    crop = cut(cropper(40, scales=(1.0, 1.0)), unknown(image()), seed=seed)  # crops and flips only
    assert crop.valid_size == (40, 40)
    for gray, values in colors_of(crop):
        assert values.unique().tolist() == [gray]
    assert crop.pixels[0][~crop.targets.labeled].unique().tolist() in ([0], [])
    assert crop.targets.labeled.sum() == crop.targets.masks.sum()


def test_crops_move_and_flip():
    crops = [cut(cropper(40, scales=(1.0, 1.0)), image(), seed=seed).pixels[0] for seed in range(12)]
    assert len({crop.numpy().tobytes() for crop in crops}) > 6
    unlabeled_left = [bool(crop[0, 0] == 0) for crop in crops]
    unlabeled_right = [bool(crop[0, -1] == 0) for crop in crops]
    assert any(unlabeled_left)
    assert any(unlabeled_right)


def test_the_same_seed_gives_the_same_crop_with_color_jitter():
    maker = cropper(color_jitter=True)
    first, second, other = (cut(maker, image(), seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.targets.masks, second.targets.masks)
    assert not torch.equal(first.pixels, other.pixels)
    assert first.pixels.min() >= 0
    assert first.pixels.max() <= 255
    assert not torch.equal(first.pixels, cut(cropper(), image(), seed=5).pixels)


def test_padding_is_right_and_bottom():
    crop = cut(cropper(64, scales=(0.5, 0.5)), image(40, 40), seed=0)  # the short side becomes 32
    assert crop.valid_size == (32, 32)
    assert crop.pixels.shape == (3, 64, 64)
    assert crop.pixels[:, 32:].abs().sum() == 0
    assert crop.pixels[:, :, 32:].abs().sum() == 0
    assert crop.targets.labeled[:32, :32].all()
    assert not crop.targets.labeled[32:].any()
    assert not crop.targets.labeled[:, 32:].any()


def test_names_become_categories():
    crop = cut(cropper(40, scales=(1.0, 1.0)), image(40, 40), seed=0)
    assert crop.targets.category_ids.tolist() == [0, 1, UNNAMED]
    assert crop.targets.category_ids.dtype == torch.long
    assert crop.targets.masks.dtype == torch.bool
    assert crop.name == "photo.jpg"


def test_a_crowd_is_neither_target_nor_known():
    """Its objects are not separated, so its pixels are unknown: queries there have no void loss."""
    crop = cut(cropper(40, scales=(1.0, 1.0)), image(40, 40, crowds=(700,)), seed=0)
    assert len(crop.targets.masks) == 2
    crowd = crop.pixels[0] == COLORS[700]
    assert crowd.any()
    assert torch.equal(crop.targets.labeled, ~crowd)


def test_an_unlabeled_pixel_is_void_or_unknown():
    source, maker = image(40, 40), cropper(40, scales=(1.0, 1.0))
    void, not_annotated = cut(maker, source, seed=0), cut(maker, unknown(source), seed=0)
    assert void.targets.labeled.all()
    assert torch.equal(not_annotated.targets.labeled, not_annotated.pixels[0] != COLORS[0])
    assert torch.equal(void.targets.masks, not_annotated.targets.masks)


def test_large_scale_jitter_fits_the_image_inside():
    crop = cut(cropper(64, scales=(0.5, 0.5), fit="inside"), image(40, 60), seed=0)
    assert crop.valid_size == (21, 32)  # the long side becomes half of 64
    sizes = {
        cut(cropper(64, scales=(0.1, 2.0), fit="inside"), image(), seed=seed).valid_size for seed in range(20)
    }
    assert len(sizes) > 10
    assert min(size[1] for size in sizes) < 32
    assert (64, 64) in sizes


def test_flipping_can_be_switched_off():
    still = [cut(cropper(40, scales=(1.0, 1.0), flip=False), image(40, 40), seed=seed) for seed in range(6)]
    assert len({crop.pixels.numpy().tobytes() for crop in still}) == 1


def test_what_is_left_of_an_object_must_be_visible_at_stride_4():
    for area in (MIN_MASK_AREA - 1, MIN_MASK_AREA):
        id_map = np.full((40, 40), 3, dtype=np.int32)
        id_map[0, :area] = 700
        crop = cut(cropper(40, scales=(1.0, 1.0)), labeled(id_map, listed=(3, 700)), seed=0)
        assert len(crop.targets.masks) == (2 if area >= MIN_MASK_AREA else 1)
        assert crop.targets.labeled.all()


def test_an_image_without_labels_gives_no_target():
    empty = np.zeros((40, 60), dtype=np.int32)
    crop = cut(cropper(), unknown(labeled(empty, listed=())), seed=0)
    assert crop.targets.masks.shape == (0, 32, 32)
    assert crop.targets.category_ids.shape == (0,)
    assert not crop.targets.labeled.any()


def test_a_batch_stacks_the_crops():
    crops = [cut(cropper(), image(), seed=seed) for seed in range(2)]
    images, targets = collate(crops)
    assert images.pixels.shape == (2, 3, 32, 32)
    assert images.valid_sizes == (crops[0].valid_size, crops[1].valid_size)
    assert [len(target.masks) for target in targets] == [len(crop.targets.masks) for crop in crops]
    images, targets = collate(crops, device="meta")
    assert {images.pixels.device.type, targets[0].masks.device.type, targets[1].labeled.device.type} == {
        "meta"
    }
