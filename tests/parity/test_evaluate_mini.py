"""The four datasets in their released layout: evaluation from a folder and from a zip gives equal reports."""

import shutil
from pathlib import Path

import pytest

from ovrcoat.data.catalog import open_dataset
from ovrcoat.evaluation.evaluator import evaluate
from ovrcoat.evaluation.plan import EvaluationSettings
from ovrcoat.segmentation.segmenter import Segmenter

FOLDERS = {  # dataset → its folder in the fixtures
    "coco": "coco",
    "ade20k": "ade20k/ADEChallengeData2016",
    "cityscapes": "cityscapes",
    "mapillary": "mapillary/mapillary_vistas",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folder_and_zip_give_the_same_report(
    name: str, shared_fixtures: Path, tmp_path: Path, tiny_segmenter: Segmenter
):
    folder = shared_fixtures / "mini" / FOLDERS[name]
    dataset = open_dataset(name, root=folder)
    settings = EvaluationSettings(tasks=tuple(sorted(dataset.tasks)), trusts=(0.0, 0.5))
    report = evaluate(tiny_segmenter, dataset, settings=settings)
    assert [issue for issue in report.issues if issue.severity == "error"] == []
    assert report.data.images == len(dataset) > 0
    assert len(report.categories) == len(dataset.categories)
    counted = [score for run in report.runs if run.panoptic for score in run.panoptic.per_class.values()]
    assert sum(score.tp + score.fn for score in counted) > 0
    archive = shutil.make_archive(
        str(tmp_path / "release"), "zip", root_dir=folder.parent, base_dir=folder.name
    )
    zipped = evaluate(tiny_segmenter, open_dataset(name, root=archive), settings=settings)
    assert zipped.runs == report.runs
    assert zipped.images == report.images
    assert zipped.data == report.data
