from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tiny_training
from ovrcoat.data.catalog import open_dataset
from ovrcoat.errors import DatasetError
from ovrcoat.training.config import CropConfig
from ovrcoat.training.crops import Crop, Cropper
from ovrcoat.training.samples import GuardedSamples, SampleNumbers, Samples, map_categories, sample_seed
from ovrcoat.training.sources import ImageSource
from ovrcoat.vocabulary import Category, Vocabulary
from tiny_training import CAT, SKY, VOID

CROP = CropConfig(size=64, scales=(0.9, 1.2), fit="short side")


@pytest.fixture
def sources(tmp_path: Path) -> list[ImageSource]:
    """Two images, and one that is drawn less often."""
    two = open_dataset(tiny_training.make_images(tmp_path / "two", [(CAT, SKY), (SKY, CAT)]))
    one = open_dataset(tiny_training.make_images(tmp_path / "one", [(CAT, VOID)]))
    return [
        ImageSource(two, tuple(two.records), weight=0.7, unlabeled="void"),
        ImageSource(one, tuple(one.records), weight=0.3, unlabeled="unknown"),
    ]


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def samples(sources: list[ImageSource], *, seed: int = 0) -> Samples:
    return Samples(sources, [Cropper(CROP, category_map={CAT: 0, SKY: 1})] * len(sources), seed=seed)


def test_a_sample_is_a_function_of_seed_and_number(sources: list[ImageSource]):
    first = samples(sources)[3]
    torch.rand(5)
    torch.manual_seed(1)
    position = torch.get_rng_state()
    again = samples(sources)[3]
    assert torch.equal(torch.get_rng_state(), position), "the caller's random state is left alone"
    assert (first.name, first.seed) == (again.name, again.seed)
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.targets.masks, again.targets.masks)
    for other in (samples(sources, seed=1)[3], samples(sources)[4]):
        assert other.seed != first.seed
        assert not torch.equal(other.pixels, first.pixels)


def test_datasets_are_drawn_by_their_weights(sources: list[ImageSource]):
    drawn = samples(sources)
    names = [drawn[number].name for number in range(60)]
    assert set(names) == {"images/two0.png", "images/two1.png", "images/one0.png"}
    assert 6 < names.count("images/one0.png") < 30  # 18 expected, deviation 3.5


def test_the_meaning_of_unlabeled_pixels_is_set_by_dataset(sources: list[ImageSource]):
    void = ImageSource(sources[1].dataset, sources[1].records, weight=1.0, unlabeled="void")
    known, unknown = samples([void])[0], samples([sources[1]])[0]
    assert torch.equal(known.pixels, unknown.pixels)
    height, width = known.valid_size
    assert known.targets.labeled[:height, :width].all()
    assert torch.equal(unknown.targets.labeled, unknown.targets.masks.any(0))


def test_labels_of_another_size_than_their_image_are_refused(sources: list[ImageSource], tmp_path: Path):
    Image.fromarray(np.zeros((10, 12, 3), np.uint8)).save(tmp_path / "one" / "images" / "one0.png")
    message = r"the labels of images/one0\.png have 48 × 36 pixels, the image has 12 × 10; both must have"
    with pytest.raises(DatasetError, match=message):
        samples(sources[1:])[0]


def test_categories_are_matched_by_name():
    ours = Vocabulary.parse("cat, kitty; sofa; dog")
    theirs = Vocabulary.parse("couch, sofa; zebra; kitty")
    numbers = map_categories(theirs.categories, ours.categories)
    ids = [category.id for category in theirs.categories]
    assert numbers == {ids[0]: 1, ids[2]: 0}


def test_spelling_does_not_matter_where_no_name_is_equal():
    ours = Vocabulary.parse("dining table; sky#stuff")
    names = ("Dining_Table", "SKY", "sky-other-merged", "class_1")
    theirs = [Category((name,), True, id) for id, name in enumerate(names)]
    assert map_categories(theirs, ours.categories) == {0: 0, 1: 1, 2: 1}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(1, 6), st.integers(1, 3), st.integers(1, 4))
def test_processes_divide_every_step(first_step: int, steps: int, share: int, processes: int):
    batch_size, last = share * processes, first_step + steps
    of_each = [
        SampleNumbers(
            first_step=first_step, steps=last, batch_size=batch_size, process=process, processes=processes
        )
        for process in range(processes)
    ]
    numbers = [list(part) for part in of_each]
    assert [len(part) for part in of_each] == [len(part) for part in numbers] == [steps * share] * processes
    for step in range(steps):
        together = sorted(number for part in numbers for number in part[step * share : (step + 1) * share])
        start = (first_step + step) * batch_size
        assert together == list(range(start, start + batch_size))


def test_seeds_of_a_run_differ():
    seeds = {sample_seed(seed, number) for seed in range(3) for number in range(1000)}
    assert len(seeds) == 3000


def test_damaged_images_are_skipped_on_request(sources: list[ImageSource], tmp_path: Path):
    """Other samples stay the same, and a sample is still a function of seed and number."""
    skipping = samples([replace(sources[0], on_error="skip")])
    before = [skipping[number] for number in range(12)]
    damage(tmp_path / "two" / "images" / "two0.png")
    with pytest.raises(DatasetError, match=r"two/images/two0\.png: .*damaged"):
        [samples(sources[:1])[number] for number in range(12)]
    after = [skipping[number] for number in range(12)]
    assert {crop.name for crop in after} == {"images/two1.png"}
    for old, new, again in zip(before, after, [skipping[number] for number in range(12)], strict=True):
        assert torch.equal(new.pixels, again.pixels)
        if old.name == "images/two1.png":
            assert torch.equal(old.pixels, new.pixels)
            assert new.skipped == ()
        else:
            assert len(new.skipped) >= 1
            assert "two0.png" in new.skipped[0]


def test_a_dataset_without_usable_images_is_an_error(sources: list[ImageSource], tmp_path: Path):
    damage(tmp_path / "one" / "images" / "one0.png")
    with pytest.raises(DatasetError, match=r"one: 100 images in a row cannot be used, such as: .*one0\.png"):
        samples([replace(sources[1], on_error="skip")])[0]


def test_guarded_samples_return_their_error(sources: list[ImageSource], tmp_path: Path):
    assert isinstance(GuardedSamples(samples(sources))[0], Crop)
    (tmp_path / "one" / "images" / "one0.png").unlink()
    error = GuardedSamples(samples(sources[1:]))[0]
    assert isinstance(error, DatasetError)
