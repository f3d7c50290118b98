"""Images are prefetched in order, only a few ahead, and none is lost."""

import threading
from pathlib import Path

import pytest

from labelled_images import make_labelled_folder
from ovrcoat.data.catalog import open_dataset
from ovrcoat.errors import DatasetError, ImageError
from ovrcoat.evaluation.prefetch import MAX_PREFETCHED, Sample, load_sample, prefetch_samples
from ovrcoat.formats.annotations import Record
from ovrcoat.segmentation.segmenter import Segmenter

RECORDS = [Record(number, f"{number}.jpg", f"{number}.png") for number in range(10)]


def test_all_come_in_order():
    pairs = list(prefetch_samples(RECORDS, lambda record: DatasetError(str(record.image_id))))
    assert [(record.image_id, str(sample)) for record, sample in pairs] == [
        (number, str(number)) for number in range(10)
    ]


def test_only_a_few_are_prefetched():
    loaded: list[object] = []

    def load(record: Record) -> DatasetError:
        loaded.append(record.image_id)
        return DatasetError("")

    pairs = prefetch_samples(RECORDS, load)
    next(pairs)
    assert len(loaded) <= MAX_PREFETCHED + 1
    pairs.close()
    assert len(loaded) <= MAX_PREFETCHED + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_an_unexpected_error_is_raised():
    def load(record: Record) -> DatasetError:
        raise ZeroDivisionError(record.image_id)

    with pytest.raises(ZeroDivisionError):
        list(prefetch_samples(RECORDS, load))


def test_a_sample_contains_what_was_requested(tmp_path: Path, tiny_segmenter: Segmenter):
    dataset = open_dataset(make_labelled_folder(tmp_path / "mine", tiny_segmenter, images=1))
    sample = load_sample(dataset.records[0], dataset=dataset, panoptic=True, semantic=False)
    assert isinstance(sample, Sample)
    assert sample.image.pixels.shape == (40, 56, 3)
    assert sample.panoptic is not None
    assert sample.semantic is None
    sample = load_sample(dataset.records[0], dataset=dataset, panoptic=False, semantic=True)
    assert isinstance(sample, Sample)
    assert sample.panoptic is None
    assert sample.semantic is not None


def test_an_unreadable_file_gives_an_error(tmp_path: Path, tiny_segmenter: Segmenter):
    folder = make_labelled_folder(tmp_path / "mine", tiny_segmenter, images=2)
    dataset = open_dataset(folder)
    (folder / "images" / "photo1.png").unlink()
    (folder / "panoptic" / "photo2.png").write_bytes(b"")
    for record, name in zip(dataset.records, ("photo1.png", "photo2.png"), strict=True):
        sample = load_sample(record, dataset=dataset, panoptic=True, semantic=False)
        assert isinstance(sample, ImageError | DatasetError)
        assert name in str(sample)
