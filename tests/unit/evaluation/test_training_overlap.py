from pathlib import Path

import tiny_training
from ovrcoat.checkpoints.training_record import TrainingData, add_stage
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.held_out import is_held_out
from ovrcoat.evaluation.training_overlap import CODE, add_training_overlap
from ovrcoat.issues import Issue, IssueList


def overlap(folder: Path, *data: TrainingData, held_out: float | None = None) -> list[Issue]:
    dataset, issues = open_dataset(folder), IssueList()
    records = [
        record for record in dataset.records if held_out is None or is_held_out(record.image, held_out)
    ]
    add_training_overlap(add_stage({}, "masks", {}, data=data), dataset, records, issues)
    return list(issues)


def test_images_that_were_trained_on_are_a_warning_with_their_number(tmp_path: Path):
    folder = tiny_training.make_images(tmp_path / "mine", [(1, 2)] * 12)
    (issue,) = overlap(folder, TrainingData("mine", held_out=0.0))
    assert (issue.code, issue.severity) == (CODE, "warning")
    assert issue.examples == ["mine: 12 of 12 evaluated images; in training, none was held out"]
    (issue,) = overlap(folder, TrainingData("mine", held_out=0.5))
    assert issue.examples[0].endswith("of 12 evaluated images; in training, held_out was 0.5")
    (issue,) = overlap(folder, TrainingData("mine"))
    assert issue.examples == ["mine: the checkpoint does not record which of its images were held out"]


def test_held_out_images_and_other_datasets_are_no_issue(tmp_path: Path):
    folder = tiny_training.make_images(tmp_path / "mine", [(1, 2)] * 12)
    assert overlap(folder, TrainingData("mine", held_out=0.5), held_out=0.5) == []
    assert overlap(folder, TrainingData("other", held_out=0.0)) == []
    assert overlap(folder) == []
    assert overlap(folder, TrainingData("mine", held_out=0.5), held_out=0.9) != []
