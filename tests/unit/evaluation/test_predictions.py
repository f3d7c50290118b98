"""Saved predictions are COCO panoptic files with the ids of the dataset, and score as the evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest

from labelled_images import make_labelled_folder
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.errors import OutputError
from ovrcoat.evaluation.evaluator import evaluate
from ovrcoat.evaluation.plan import EvaluationSettings
from ovrcoat.evaluation.predictions import PredictionFolder, png_names
from ovrcoat.evaluation.scoring.panoptic import PanopticSource, score_panoptic
from ovrcoat.formats.annotations import Record
from ovrcoat.segmentation.segmenter import Segmenter


@pytest.fixture
def folder(tmp_path: Path, tiny_segmenter: Segmenter) -> Path:
    return make_labelled_folder(tmp_path / "mine", tiny_segmenter)


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    return open_dataset(folder)


def saved(folder: Path, dataset: Dataset, **options: object) -> PredictionFolder:
    return PredictionFolder(folder, trust=0.5, dataset=dataset, header={"run": 1}, **options)  # type: ignore[arg-type]


def test_files_have_the_score_of_the_evaluation(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path):
    report = evaluate(tiny_segmenter, open_dataset(folder), predictions=tmp_path / "saved")
    for run in report.runs:
        place = tmp_path / "saved" / f"trust-{run.trust:g}"
        scored = score_panoptic(
            PanopticSource(folder / "panoptic.json", folder / "panoptic"),
            PanopticSource(place / "panoptic.json", place / "panoptic"),
        )
        assert run.panoptic is not None
        assert scored["groups"]["All"]["pq"] == run.panoptic.groups["All"].pq
        assert {id: entry["tp"] for id, entry in scored["per_class"].items()} == {
            str(id): score.tp for id, score in run.panoptic.per_class.items()
        }


def test_the_document_uses_ids_and_names_of_the_dataset(
    tiny_segmenter: Segmenter, folder: Path, tmp_path: Path
):
    evaluate(
        tiny_segmenter,
        open_dataset(folder),
        settings=EvaluationSettings(trusts=(0.5,)),
        predictions=tmp_path / "saved",
    )
    document = json.loads((tmp_path / "saved" / "trust-0.5" / "panoptic.json").read_text())
    truth = json.loads((folder / "panoptic.json").read_text())
    assert document["images"] == truth["images"]
    assert [entry["file_name"] for entry in document["annotations"]] == [
        "photo1.png",
        "photo2.png",
        "photo3.png",
    ]
    assert [entry["id"] for entry in document["categories"]] == [1, 2, 3, 4]
    assert document["annotations"][0]["segments_info"][0]["score"] > 0


def test_a_run_resumes_with_its_predictions(tmp_path: Path, dataset: Dataset):
    empty = np.zeros((40, 56), np.int32)
    first, second, _ = dataset.records
    with saved(tmp_path, dataset) as predictions:
        predictions.add(first, empty, segments=())
        predictions.add(second, empty, segments=())
    with saved(tmp_path, dataset, done=[first.image_id]) as predictions:
        predictions.add(second, empty, segments=())  # the journal of the run did not contain its image
        predictions.complete([first.image_id, second.image_id])
    document = json.loads((tmp_path / "trust-0.5" / "panoptic.json").read_text())
    assert [image["id"] for image in document["images"]] == [1, 2]


def test_the_document_is_complete_or_missing(tmp_path: Path, dataset: Dataset):
    with saved(tmp_path, dataset) as predictions:
        predictions.complete([])
        assert predictions.document_path.exists()
    with saved(tmp_path, dataset) as predictions:
        assert not predictions.document_path.exists()


def test_a_folder_that_lacks_earlier_images_is_rejected(tmp_path: Path, dataset: Dataset):
    with pytest.raises(OutputError, match="lacks the predictions of 2 images that are already evaluated"):
        saved(tmp_path, dataset, done=[1, 2])


def test_a_missing_png_is_reported(tmp_path: Path, dataset: Dataset):
    with saved(tmp_path, dataset) as predictions:
        predictions.add(dataset.records[0], np.zeros((40, 56), np.int32), segments=())
        (tmp_path / "trust-0.5" / "panoptic" / "photo1.png").unlink()
        with pytest.raises(OutputError, match=r"photo1\.png is missing"):
            predictions.complete([1])


def test_predictions_of_a_different_run_are_rejected(tmp_path: Path, dataset: Dataset):
    saved(tmp_path, dataset).close()
    with pytest.raises(OutputError, match="belongs to a different run"):
        PredictionFolder(tmp_path, trust=0.5, dataset=dataset, header={"run": 2})


def test_a_folder_that_cannot_be_written(tmp_path: Path, dataset: Dataset):
    (tmp_path / "trust-0.5").mkdir()
    (tmp_path / "trust-0.5" / "panoptic").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        saved(tmp_path, dataset)


def test_pngs_are_named_after_the_labels_and_unique():
    records = [Record(1, "a/1.jpg", "a/1.png"), Record(2, "b/1.jpg", "b/1.png"), Record(3, "c.jpg", "c.tif")]
    assert png_names(records) == {1: "0000000-1.png", 2: "0000001-1.png", 3: "c.png"}
