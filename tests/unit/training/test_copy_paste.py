import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

import tiny_training
from ovrcoat.data.catalog import open_dataset
from ovrcoat.errors import DatasetError
from ovrcoat.training.augmentation_config import CopyPasteConfig
from ovrcoat.training.copy_paste import (
    CopyPaste,
    Cutout,
    Donor,
    covered_targets,
    paste,
    random_position,
    resize_thing,
    soft_edge,
)
from ovrcoat.training.crops import Crop
from ovrcoat.training.losses import UNNAMED, Targets
from ovrcoat.training.sources import ImageSource
from tiny_training import CAT, SKY, ZEBRA

EDGE = 48
HARD = CopyPasteConfig(probability=1.0, instances=1, blend=0.0)
FREE = (False, False, False, False)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def crop(*, labeled: bool = True) -> Crop:
    """Two masks, left and right, in a gray crop whose last rows are padding."""
    masks = torch.zeros(2, EDGE, EDGE, dtype=torch.bool)
    masks[0, :40, :20] = True
    masks[1, :40, 20:40] = True
    known = torch.zeros(EDGE, EDGE, dtype=torch.bool)
    known[:40] = labeled
    pixels = torch.zeros(3, EDGE, EDGE)
    pixels[:, :40] = 100.0
    targets = Targets(masks, torch.tensor([0, 1]), known | masks.any(dim=0))
    return Crop("image.jpg", pixels, (40, EDGE), targets)


def cutout(height: int = 10, width: int = 12, *, fixed: tuple[bool, bool, bool, bool] = FREE) -> Cutout:
    """A white rectangle."""
    mask = torch.ones(height, width, dtype=torch.bool)
    return Cutout(torch.full((3, height, width), 255.0), mask, fixed, category_index=7)


def areas(masks: Tensor) -> list[int]:
    return masks.flatten(1).sum(dim=1).tolist()


def make_folder(root: Path, boxes: list[tuple[int, tuple[slice, slice]]]) -> Path:
    """One image of 60 × 80 with a thing or stuff in each box."""
    tiny_training.make_images(root, [(CAT, SKY)])
    document = (root / "panoptic.json").read_text()
    ids = np.zeros((60, 80, 3), dtype=np.uint8)
    for key, box in boxes:
        ids[box][..., 0] = key
    Image.fromarray(ids).save(root / "panoptic" / f"{root.name}0.png")
    Image.fromarray(np.full((60, 80, 3), 200, dtype=np.uint8)).save(root / "images" / f"{root.name}0.png")
    segments = ", ".join(
        f'{{"id": {key}, "category_id": {key}, "area": {int((ids[..., 0] == key).sum())}, "iscrowd": 0}}'
        for key, _ in boxes
    )
    start, end = document.index('"segments_info": ['), document.index("]", document.index("segments_info"))
    document = document[:start] + '"segments_info": [' + segments + document[end:]
    document = document.replace('"height": 36, "width": 48', '"height": 60, "width": 80')
    (root / "panoptic.json").write_text(document)
    return root


def donor(root: Path, boxes: list[tuple[int, tuple[slice, slice]]], *, weight: float = 1.0) -> Donor:
    dataset = open_dataset(make_folder(root, boxes))
    source = ImageSource(dataset, tuple(dataset.records), weight=weight, unlabeled="unknown")
    return Donor(source, category_map={CAT: 0, SKY: 1})


def test_a_pasted_thing_is_a_labeled_target():
    source = crop(labeled=False)
    result = paste(source, cutout(), HARD)
    assert result.targets.category_ids.tolist() == [0, 1, 7]
    pasted = result.targets.masks[2]
    assert int(pasted.sum()) == 120
    assert bool((result.pixels[:, pasted] == 255).all())
    assert bool((result.pixels[:, ~pasted] == source.pixels[:, ~pasted]).all())
    assert bool(result.targets.labeled[pasted].all())
    assert torch.equal(result.targets.labeled[~pasted], source.targets.labeled[~pasted])


def test_covered_masks_lose_their_pixels():
    source = crop()
    result = paste(source, cutout(), HARD)
    covered = result.targets.masks[2]
    assert torch.equal(result.targets.masks[:2], source.targets.masks & ~covered)
    assert int(result.targets.masks.sum(dim=0).max()) == 1, "no pixel has two owners"


def test_void_stays_void_and_unknown_stays_unknown():
    for labeled in (True, False):
        source = crop(labeled=labeled)
        result = paste(source, cutout(), HARD)
        outside = ~result.targets.masks[2]
        assert torch.equal(result.targets.labeled[outside], source.targets.labeled[outside])


def test_a_mask_of_which_too_little_is_left_becomes_unknown():
    source = crop()
    covered = torch.zeros(EDGE, EDGE, dtype=torch.bool)
    covered[:38, :20] = True  # 40 of 800 pixels are left: 5 percent
    targets = covered_targets(source.targets, covered, visible=0.1)
    assert targets.category_ids.tolist() == [1]
    assert not targets.labeled[38:40, :20].any()
    assert bool(targets.labeled[:38].all())
    kept = covered_targets(source.targets, covered, visible=0.01)
    assert kept.category_ids.tolist() == [0, 1]
    assert torch.equal(kept.labeled, source.targets.labeled)


def test_an_untouched_small_mask_is_kept():
    source = crop()
    small = source.targets.masks.clone()
    small[1] = False
    small[1, 0, 20:23] = True
    targets = dataclasses.replace(source.targets, masks=small)
    covered = torch.zeros(EDGE, EDGE, dtype=torch.bool)
    covered[:10, :10] = True
    assert areas(covered_targets(targets, covered, visible=0.1).masks) == [700, 3]


def test_things_lie_inside_the_image_and_not_in_its_padding():
    for _ in range(50):
        place = random_position(cutout(), (40, EDGE))
        assert place is not None
        assert 0 <= place[0] <= 30
        assert 0 <= place[1] <= EDGE - 12


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        ((True, False, False, False), (0, None)),
        ((False, True, False, False), (30, None)),
        ((False, False, True, False), (None, 0)),
        ((False, False, False, True), (None, EDGE - 12)),
    ],
)
def test_a_side_that_was_cut_off_lies_at_the_border(fixed: Any, expected: tuple[int | None, int | None]):
    place = random_position(cutout(fixed=fixed), (40, EDGE))
    assert place is not None
    assert all(wanted in (None, found) for wanted, found in zip(expected, place, strict=True))


def test_what_does_not_fit_is_not_pasted():
    source = crop()
    assert random_position(cutout(41), (40, EDGE)) is None
    assert random_position(cutout(fixed=(True, True, False, False)), (40, EDGE)) is None
    assert random_position(cutout(40, fixed=(True, True, False, False)), (40, EDGE)) is not None
    assert paste(source, cutout(41), HARD) is source


def test_the_edge_is_blended():
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[5:15, 5:15] = True
    assert torch.equal(soft_edge(mask, sigma=0.0), mask.float())
    soft = soft_edge(mask, sigma=1.0)
    assert soft[10, 10] == pytest.approx(1, abs=1e-3)
    assert 0.5 < float(soft[5, 10]) < 1
    assert 0 < float(soft[4, 10]) < 0.5
    assert soft[0, 0] == pytest.approx(0, abs=1e-3)


def test_resizing_keeps_mask_and_pixels_together():
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[:, :15] = True
    pixels = 255 * mask.float().expand(3, -1, -1)
    resized, smaller = resize_thing(pixels, mask, factor=0.5)
    assert smaller.shape == (10, 15)
    assert int(smaller.sum()) in range(70, 81)
    assert torch.equal(resized[0] > 127, smaller)


def test_only_things_are_cut(tmp_path: Path):
    boxes = [
        (CAT, (slice(10, 40), slice(10, 40))),
        (SKY, (slice(0, 8), slice(0, 80))),
        (ZEBRA, (slice(50, 55), slice(60, 65))),
    ]
    found = donor(tmp_path / "a", boxes)
    assert [(one.segment_id, one.category_index) for one in found.candidates] == [(CAT, 0)]


def test_a_thing_without_a_class_name_is_pasted_without_a_name(tmp_path: Path):
    found = donor(tmp_path / "a", [(ZEBRA, (slice(10, 40), slice(10, 40)))])
    assert [one.category_index for one in found.candidates] == [UNNAMED]


def test_cutouts_respect_scale_and_largest_area(tmp_path: Path):
    found = donor(tmp_path / "a", [(CAT, (slice(10, 40), slice(10, 40)))])
    settings = HARD.model_copy(update={"scales": (0.5, 0.5)})
    cut = found.cut(found.candidates[0], settings, edge=EDGE)
    assert cut is not None
    assert cut.mask.shape == (12, 12)  # 30 pixels · 0.5 · 48 / 60
    limited = HARD.model_copy(update={"scales": (3.0, 3.0), "largest": 0.1})
    cut = found.cut(found.candidates[0], limited, edge=EDGE)
    assert cut is not None
    assert int(cut.mask.sum()) == pytest.approx(0.1 * EDGE**2, rel=0.15)
    tiny = HARD.model_copy(update={"scales": (0.05, 0.05)})
    assert found.cut(found.candidates[0], tiny, edge=EDGE) is None


def test_flipping_swaps_the_cut_off_sides(tmp_path: Path):
    found = donor(tmp_path / "a", [(CAT, (slice(10, 40), slice(0, 30)))])
    seen = set()
    for _ in range(20):
        cut = found.cut(found.candidates[0], HARD, edge=EDGE)
        assert cut is not None
        seen.add(cut.fixed)
    assert seen == {(False, False, True, False), (False, False, False, True)}


def test_crops_are_pasted_into_with_the_set_probability(tmp_path: Path):
    found = donor(tmp_path / "a", [(CAT, (slice(10, 40), slice(10, 40)))])
    settings = HARD.model_copy(update={"probability": 0.5, "scales": (0.3, 0.5)})
    augment = CopyPaste(settings, [found])
    source = crop()
    changed = sum(augment(source) is not source for _ in range(100))
    assert 35 < changed < 65


def test_several_things_are_pasted(tmp_path: Path):
    found = donor(tmp_path / "a", [(CAT, (slice(10, 40), slice(10, 40)))])
    settings = HARD.model_copy(update={"instances": 3, "scales": (0.3, 0.4)})
    augment = CopyPaste(settings, [found])
    counts = {len(augment(crop()).targets.masks) - 2 for _ in range(30)}
    assert counts == {1, 2, 3}


def test_without_things_nothing_is_pasted(tmp_path: Path):
    found = donor(tmp_path / "a", [(SKY, (slice(10, 40), slice(10, 40)))])
    source = crop()
    assert CopyPaste(HARD, [found])(source) is source


def test_a_damaged_image_is_an_error_or_skipped(tmp_path: Path):
    found = donor(tmp_path / "a", [(CAT, (slice(10, 40), slice(10, 40)))])
    (candidate,) = found.candidates
    (tmp_path / "a" / candidate.record.image).write_bytes(b"no image")
    with pytest.raises(DatasetError):
        found.cut(candidate, HARD, edge=EDGE)
    skipping = Donor(dataclasses.replace(found.source, on_error="skip"), category_map={CAT: 0})
    assert skipping.cut(candidate, HARD, edge=EDGE) is None


def test_scales_are_in_order():
    with pytest.raises(ValidationError, match="expected the smaller one first"):
        CopyPasteConfig(scales=(2.0, 1.0))
