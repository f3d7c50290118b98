"""The complete evaluation on a tiny network. Its ground truth is the prediction of the network at γ = 0.5."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelled_images import make_labelled_folder
from ovrcoat.data.catalog import open_dataset
from ovrcoat.errors import ConfigError, DatasetError, OutputError
from ovrcoat.evaluation import evaluator
from ovrcoat.evaluation.evaluator import evaluate
from ovrcoat.evaluation.image_scores import ImageScorer
from ovrcoat.evaluation.plan import EvaluationSettings
from ovrcoat.evaluation.reports.report import EvaluationReport
from ovrcoat.segmentation.segmenter import Segmenter

ALL_TASKS = EvaluationSettings(tasks=("panoptic", "semantic", "instance"))


@pytest.fixture
def folder(tmp_path: Path, tiny_segmenter: Segmenter) -> Path:
    made = make_labelled_folder(tmp_path / "mine", tiny_segmenter)
    tiny_segmenter.network.encoder.batch_sizes.clear()
    return made


def encoded_images(segmenter: Segmenter) -> int:
    return sum(segmenter.network.encoder.batch_sizes)


def numbers(report: EvaluationReport) -> dict[str, Any]:
    """All but what differs between two equal runs."""
    return {key: value for key, value in report.to_dict().items() if key not in {"created", "timing"}}


def change_json(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "panoptic.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def codes(report: EvaluationReport) -> dict[str, str]:
    return {issue.code: issue.severity for issue in report.issues}


def test_the_own_prediction_of_the_network_is_perfect(tiny_segmenter: Segmenter, folder: Path):
    report = evaluate(tiny_segmenter, open_dataset(folder))
    without, with_coat = report.runs
    assert (without.trust, with_coat.trust) == (0.0, 0.5)
    assert with_coat.panoptic is not None
    assert with_coat.panoptic.groups["All"].pq == 1.0
    assert with_coat.panoptic.per_class[1].tp == 6
    assert with_coat.error_analysis is not None
    assert {row.outcome: row.counts["All"] for row in with_coat.error_analysis.rows if row.counts["All"]} == {
        "found": 9
    }
    assert without.panoptic is not None
    assert 0 < (without.panoptic.groups["All"].pq or 0) < 1
    assert report.issues == ()
    assert report.data.images == 3
    assert report.seen_category_ids == (1, 3)  # cat and sky: what its training knew


def test_an_image_is_encoded_once_for_all_trusts_and_tasks(tiny_segmenter: Segmenter, folder: Path):
    report = evaluate(tiny_segmenter, open_dataset(folder), settings=ALL_TASKS)
    assert encoded_images(tiny_segmenter) == 3
    for run in report.runs:
        assert run.panoptic is not None
        assert run.semantic is not None
        assert run.instance is not None
    assert report.images[0].semantic["0.5"]
    pixels = [tally[1] for image in report.images for tally in image.semantic["0"].values()]
    assert 0 < sum(pixels) <= 3 * 40 * 56


def test_folder_and_zip_give_the_same(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path):
    archive = shutil.make_archive(str(tmp_path / "zipped" / "mine"), "zip", folder)
    from_folder = evaluate(tiny_segmenter, open_dataset(folder), settings=ALL_TASKS)
    from_zip = evaluate(tiny_segmenter, open_dataset(archive), settings=ALL_TASKS)
    assert numbers(from_folder) == numbers(from_zip)


def test_an_interrupted_run_resumes(
    tiny_segmenter: Segmenter, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = evaluate(tiny_segmenter, open_dataset(folder), settings=ALL_TASKS)
    journal = tmp_path / "out" / "journal.jsonl"
    predict = ImageScorer.predict

    def interrupted(scorer: ImageScorer, record: Any, sample: Any) -> Any:
        if record.image_id == 3:
            raise KeyboardInterrupt
        return predict(scorer, record, sample)

    with monkeypatch.context() as patch:
        patch.setattr(ImageScorer, "predict", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(tiny_segmenter, open_dataset(folder), settings=ALL_TASKS, journal=journal)
    journal.write_bytes(journal.read_bytes() + b'{"image_id": 3, "panop')  # killed while writing
    tiny_segmenter.network.encoder.batch_sizes.clear()
    resumed = evaluate(tiny_segmenter, open_dataset(folder), settings=ALL_TASKS, journal=journal)
    assert encoded_images(tiny_segmenter) == 1
    assert resumed.timing["resumed_images"] == 2
    assert numbers(resumed) == numbers(whole)


def test_the_network_runs_in_this_thread_and_scoring_in_another(
    tiny_segmenter: Segmenter, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    journal = tmp_path / "journal.jsonl"
    (folder / "images" / "photo2.png").write_bytes(b"")
    here = threading.current_thread()
    predicted, scored = [], []
    predict, score = ImageScorer.predict, ImageScorer.score

    def watched_predict(scorer: ImageScorer, record: Any, sample: Any) -> Any:
        predicted.append((record.image_id, threading.current_thread() is here))
        return predict(scorer, record, sample)

    def watched_score(scorer: ImageScorer, predictions: Any) -> Any:
        scored.append((predictions.record.image_id, threading.current_thread() is here))
        return score(scorer, predictions)

    monkeypatch.setattr(ImageScorer, "predict", watched_predict)
    monkeypatch.setattr(ImageScorer, "score", watched_score)
    report = evaluate(tiny_segmenter, open_dataset(folder), journal=journal)
    assert predicted == [(1, True), (3, True)]
    assert scored == [(1, False), (3, False)]
    journaled = [json.loads(line)["image_id"] for line in journal.read_text().splitlines()[1:]]
    assert journaled == [image.image_id for image in report.images] == [1, 3]


def test_an_error_in_the_scoring_thread_stops_the_run(
    tiny_segmenter: Segmenter, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    score = ImageScorer.score

    def full(scorer: ImageScorer, predictions: Any) -> Any:
        if predictions.record.image_id == 2:
            raise OutputError("the disk is full")
        return score(scorer, predictions)

    journal = tmp_path / "journal.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(ImageScorer, "score", full)
        with pytest.raises(OutputError, match="the disk is full"):
            evaluate(tiny_segmenter, open_dataset(folder), journal=journal)
    assert [json.loads(line)["image_id"] for line in journal.read_text().splitlines()[1:]] == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.endswith(("-ahead", "-behind"))]
    assert evaluate(tiny_segmenter, open_dataset(folder), journal=journal).timing["resumed_images"] == 1


def test_a_finished_run_needs_no_network(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path):
    first = evaluate(tiny_segmenter, open_dataset(folder), journal=tmp_path / "journal.jsonl")
    tiny_segmenter.network.encoder.batch_sizes.clear()
    again = evaluate(tiny_segmenter, open_dataset(folder), journal=tmp_path / "journal.jsonl")
    assert encoded_images(tiny_segmenter) == 0
    assert numbers(again) == numbers(first)


def test_a_different_run_does_not_touch_the_journal(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path):
    journal = tmp_path / "journal.jsonl"
    evaluate(tiny_segmenter, open_dataset(folder), journal=journal)
    other = EvaluationSettings(trusts=(0.25,), short_side=96)
    with pytest.raises(OutputError, match="belongs to a different run") as caught:
        evaluate(tiny_segmenter, open_dataset(folder), settings=other, journal=journal)
    assert 'trusts: ["0", "0.5"] in the file, ["0.25"] in this run' in str(caught.value)
    assert "inference.short_side: 64 in the file, 96 in this run" in str(caught.value)
    report = evaluate(tiny_segmenter, open_dataset(folder), settings=other, journal=journal, overwrite=True)
    assert report.trusts == (0.25,)


def test_a_limit_is_reported_and_a_longer_run_resumes(
    tiny_segmenter: Segmenter, folder: Path, tmp_path: Path
):
    journal = tmp_path / "journal.jsonl"
    short = evaluate(
        tiny_segmenter, open_dataset(folder), settings=EvaluationSettings(limit=2), journal=journal
    )
    assert short.data.images == 3  # of the dataset; two were evaluated
    assert [image.image_id for image in short.images] == [1, 2]
    assert codes(short) == {"partial-dataset": "note"}
    tiny_segmenter.network.encoder.batch_sizes.clear()
    whole = evaluate(tiny_segmenter, open_dataset(folder), journal=journal)
    assert encoded_images(tiny_segmenter) == 1
    assert numbers(whole) == numbers(evaluate(tiny_segmenter, open_dataset(folder)))


def test_an_unreadable_image_is_reported_and_can_be_repaired(
    tiny_segmenter: Segmenter, folder: Path, tmp_path: Path
):
    whole = evaluate(tiny_segmenter, open_dataset(folder))
    image = folder / "images" / "photo2.png"
    content = image.read_bytes()
    image.write_bytes(content[:100])
    journal = tmp_path / "journal.jsonl"
    lacking = evaluate(tiny_segmenter, open_dataset(folder), journal=journal)
    assert codes(lacking) == {"image-skipped": "error"}
    assert lacking.issues[0].examples[0].startswith("2: ")
    assert "missing from all numbers" in lacking.issues[0].message
    assert [image.image_id for image in lacking.images] == [1, 3]
    image.write_bytes(content)
    tiny_segmenter.network.encoder.batch_sizes.clear()
    repaired = evaluate(tiny_segmenter, open_dataset(folder), journal=journal)
    assert encoded_images(tiny_segmenter) == 1
    assert [image.image_id for image in repaired.images] == [1, 2, 3]
    assert repaired.runs == whole.runs


def test_labels_of_a_different_size_are_reported(tiny_segmenter: Segmenter, folder: Path):
    image = folder / "images" / "photo1.png"
    Image.open(image).transpose(Image.Transpose.ROTATE_90).save(image)
    report = evaluate(tiny_segmenter, open_dataset(folder))
    assert codes(report) == {"image-skipped": "error"}
    assert (
        "has 40 × 56 pixels (after rotation by its EXIF orientation), but its labels "
        "panoptic/photo1.png have 56 × 40" in str(report.issues[0])
    )


def test_without_any_image_there_is_no_report(tiny_segmenter: Segmenter, folder: Path):
    for image in (folder / "images").iterdir():
        image.unlink()
    with pytest.raises(DatasetError, match="no image of mine could be evaluated"):
        evaluate(tiny_segmenter, open_dataset(folder))


def test_different_areas_are_reported(tiny_segmenter: Segmenter, folder: Path):
    def enlarge(document: dict[str, Any]) -> None:
        document["annotations"][0]["segments_info"][0]["area"] += 100

    change_json(folder, enlarge)
    report = evaluate(tiny_segmenter, open_dataset(folder))
    assert codes(report) == {"areas-differ": "warning"}
    assert "--areas png recounts them" in str(report.issues[0])
    panoptic = report.run(0.5).panoptic
    assert panoptic is not None
    assert (panoptic.groups["All"].pq or 1) < 1
    recounted = evaluate(tiny_segmenter, open_dataset(folder), settings=EvaluationSettings(areas="png"))
    assert codes(recounted) == {"areas-differ": "note"}
    panoptic = recounted.run(0.5).panoptic
    assert panoptic is not None
    assert panoptic.groups["All"].pq == 1


def test_an_iou_above_one_is_an_error(tiny_segmenter: Segmenter, folder: Path):
    def shrink(document: dict[str, Any]) -> None:
        document["annotations"][1]["segments_info"][0]["area"] = 5

    change_json(folder, shrink)
    report = evaluate(tiny_segmenter, open_dataset(folder))
    assert codes(report) == {"image-skipped": "error"}
    assert "the IoU would exceed 1" in str(report.issues[0])
    assert [image.image_id for image in report.images] == [1, 3]


def test_the_oracle_asks_for_what_is_there(tiny_segmenter: Segmenter, folder: Path):
    def empty(document: dict[str, Any]) -> None:
        document["annotations"][2]["segments_info"] = []

    change_json(folder, empty)
    Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save(folder / "panoptic" / "photo3.png")
    tiny_segmenter.network.encoder.texts.clear()
    settings = EvaluationSettings(tasks=("panoptic", "semantic", "instance"), oracle=True, trusts=(0.5,))
    report = evaluate(tiny_segmenter.with_settings(), open_dataset(folder), settings=settings)
    assert codes(report)["oracle-vocabulary"] == "note"
    panoptic = report.runs[0].panoptic
    assert panoptic is not None
    found = {id: (score.tp, score.fp, score.fn) for id, score in panoptic.per_class.items()}
    assert found.keys() == {1, 4}  # only these categories can be predicted
    assert report.images[2].panoptic["0.5"] == {}  # an empty ground truth gives an empty vocabulary
    assert report.protocol["oracle"] is True


def test_the_oracle_reads_semantic_labels_too(tiny_segmenter: Segmenter, folder: Path):
    shutil.rmtree(folder / "panoptic")
    (folder / "panoptic.json").unlink()
    (folder / "labels").mkdir()
    (folder / "names.txt").write_text("1: cat\n2: dog\n3: sky\n4: road\n")
    labels = np.full((40, 56), 255, np.uint8)
    labels[:20] = 1
    labels[20:, :30] = 4
    for number in (1, 2, 3):
        Image.fromarray(labels).save(folder / "labels" / f"photo{number}.png")
    settings = EvaluationSettings(tasks=("semantic",), oracle=True, trusts=(0.0,))
    report = evaluate(tiny_segmenter, open_dataset(folder), settings=settings)
    assert {id for image in report.images for id in image.semantic["0"]} == {1, 4}
    assert report.images[0].semantic["0"][1][1] == 20 * 56
    assert report.runs[0].panoptic is None
    with pytest.raises(ConfigError, match="mine has ground truth for semantic, but not for panoptic"):
        evaluate(tiny_segmenter, open_dataset(folder))


def test_seen_changes_only_the_report(tiny_segmenter: Segmenter, folder: Path):
    usual = evaluate(tiny_segmenter, open_dataset(folder))
    other = evaluate(tiny_segmenter, open_dataset(folder), settings=EvaluationSettings(seen="road; dog"))
    assert other.seen_category_ids == (2, 4)
    assert other.images == usual.images


def test_background_classes_are_reported(tiny_segmenter: Segmenter, folder: Path):
    settings = EvaluationSettings(background="house; tree")
    report = evaluate(tiny_segmenter, open_dataset(folder), settings=settings)
    assert codes(report)["background-classes"] == "note"
    assert report.vocabulary["background"]


def test_vocabulary_issues_are_reported_once(tiny_segmenter: Segmenter, folder: Path):
    settings = EvaluationSettings(vocabulary="cat, kitty, kitty; dog")
    report = evaluate(tiny_segmenter, open_dataset(folder), settings=settings)
    suspicious = [issue for issue in report.issues if issue.code == "suspicious-vocabulary"]
    assert [issue.count for issue in suspicious] == [1]


def test_predictions_need_panoptic(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="saved for the task 'panoptic' only"):
        evaluate(
            tiny_segmenter,
            open_dataset(folder),
            settings=EvaluationSettings(tasks=("semantic",)),
            predictions=tmp_path / "predictions",
        )


def test_the_progress_bar_shows_the_running_quality(
    tiny_segmenter: Segmenter, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    shown: list[dict[str, str]] = []

    class Bar(evaluator.tqdm):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **(options | {"disable": False}))

        def set_postfix(self, *arguments: Any, **options: Any) -> None:
            shown.append(arguments[0])

    monkeypatch.setattr(evaluator, "tqdm", Bar)
    evaluate(tiny_segmenter, open_dataset(folder), progress=True)
    assert len(shown) == 3
    assert shown[-1]["PQ γ=0.5"] == "100.0"


def test_adaptive_trust_is_a_run_like_any_other(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path):
    settings = EvaluationSettings(trusts=(0.5, "adaptive"))
    predictions = tmp_path / "predictions"
    report = evaluate(tiny_segmenter, open_dataset(folder), settings=settings, predictions=predictions)
    assert report.trusts == (0.5, "adaptive")
    assert report.run("adaptive").panoptic is not None
    assert EvaluationReport.from_json(report.to_json()).trusts == (0.5, "adaptive")
    assert (predictions / "trust-adaptive" / "panoptic.json").is_file()


def test_images_whose_labels_have_changed_are_evaluated_again(
    tiny_segmenter: Segmenter, folder: Path, tmp_path: Path
):
    journal, predictions = tmp_path / "journal.jsonl", tmp_path / "predictions"
    evaluate(tiny_segmenter, open_dataset(folder), journal=journal, predictions=predictions)

    def swap(document: dict[str, Any]) -> None:
        for segment in document["annotations"][1]["segments_info"]:
            segment["category_id"] = {1: 2, 2: 1}.get(segment["category_id"], segment["category_id"])

    change_json(folder, swap)
    tiny_segmenter.network.encoder.batch_sizes.clear()
    again = evaluate(tiny_segmenter, open_dataset(folder), journal=journal, predictions=predictions)
    assert encoded_images(tiny_segmenter) == 1
    (issue,) = [issue for issue in again.issues if issue.code == "data-changed"]
    assert (issue.severity, issue.examples) == ("note", ["2"])
    assert again.runs == evaluate(tiny_segmenter, open_dataset(folder)).runs
    saved = json.loads((predictions / "trust-0.5" / "panoptic.json").read_text())
    assert sorted(image["id"] for image in saved["images"]) == [1, 2, 3]


@pytest.mark.parametrize("changed", ["panoptic/photo3.png", "images/photo3.png"])
def test_other_bytes_of_labels_or_image_are_noticed(
    changed: str, tiny_segmenter: Segmenter, folder: Path, tmp_path: Path
):
    journal = tmp_path / "journal.jsonl"
    evaluate(tiny_segmenter, open_dataset(folder), journal=journal)
    Image.open(folder / changed).save(folder / changed, compress_level=0)
    tiny_segmenter.network.encoder.batch_sizes.clear()
    again = evaluate(tiny_segmenter, open_dataset(folder), journal=journal)
    assert encoded_images(tiny_segmenter) == 1
    assert "data-changed" in codes(again)


def test_a_moved_and_renamed_folder_resumes(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path):
    journal = tmp_path / "journal.jsonl"
    first = evaluate(tiny_segmenter, open_dataset(folder), journal=journal)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "renamed", copy_function=shutil.copyfile)
    tiny_segmenter.network.encoder.batch_sizes.clear()
    again = evaluate(tiny_segmenter, open_dataset(moved), journal=journal)
    assert encoded_images(tiny_segmenter) == 0
    assert again.runs == first.runs
    assert again.data.fingerprint == first.data.fingerprint


def test_images_without_annotation_are_counted(tiny_segmenter: Segmenter, folder: Path):
    change_json(folder, lambda document: document["annotations"].pop())
    report = evaluate(tiny_segmenter, open_dataset(folder))
    (issue,) = [issue for issue in report.issues if issue.code == "image-without-labels"]
    assert (issue.severity, issue.count, issue.examples) == ("note", 1, ["photo3.png"])
