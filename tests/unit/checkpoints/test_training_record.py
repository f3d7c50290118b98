import json
from pathlib import Path

import tiny_training
from ovrcoat.checkpoints.training_record import TrainingData, add_stage, read_training_data
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.held_out import is_held_out

MINE = TrainingData("mine", images=3, held_out=0.1, fingerprint="abc")


def test_a_stage_is_added_and_read_again():
    provenance = add_stage({"family": "nano"}, "masks", {"steps": 4}, data=[MINE])
    assert provenance["family"] == "nano"
    assert json.loads(provenance["stage_masks"])["steps"] == 4
    assert read_training_data(provenance) == (MINE,)


def test_a_second_training_keeps_the_record_of_the_first():
    first = add_stage({}, "masks", {}, data=[MINE])
    other = TrainingData("other", held_out=0.0)
    second = add_stage(first, "masks", {}, data=[other])
    assert second.keys() == {"stage_masks", "stage_masks_2"}
    assert read_training_data(second) == (MINE, other)


def test_records_of_other_versions():
    old = {"stage_a": '{"data": ["coco"]}', "stage_b": "no JSON", "stage_c": '{"data": [{"unknown": 1}]}'}
    assert read_training_data(old) == (TrainingData("coco"),)


def test_a_dataset_is_recognized_by_content_or_name(tmp_path: Path):
    dataset = open_dataset(tiny_training.make_images(tmp_path / "mine", [(1, 2)] * 12))
    assert TrainingData("former name", fingerprint=dataset.fingerprint()).is_same(dataset)
    assert TrainingData("mine", fingerprint="of older labels").is_same(dataset)
    assert not TrainingData("other", fingerprint="other").is_same(dataset)
    assert not TrainingData("mine", split="train").is_same(dataset)
    kept = [record for record in dataset.records if not is_held_out(record.image, 0.5)]
    assert TrainingData("mine", held_out=0.5).trained_images(dataset.records) == len(kept)
