"""Shards of an evaluation: merged in any order, they equal the single run to the last digit."""

import json
from pathlib import Path
from typing import Any

import pytest

from labelled_images import make_labelled_folder
from ovrcoat.data.catalog import open_dataset
from ovrcoat.errors import ConfigError, DatasetError
from ovrcoat.evaluation.evaluator import evaluate, evaluate_shard
from ovrcoat.evaluation.partial import NAME, merge_partials, read_partial
from ovrcoat.evaluation.plan import EvaluationSettings
from ovrcoat.evaluation.reports.report import EvaluationReport
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.shard import Shard

IMAGES, SHARDS = 10, 7
TASKS = ("panoptic", "semantic", "instance")


def settings(shard: Shard = Shard(), **changes: Any) -> EvaluationSettings:  # noqa: B008 - frozen
    return EvaluationSettings(tasks=TASKS, trusts=(0, 0.3, 0.9), shard=shard, **changes)


def write_shards(segmenter: Segmenter, folder: Path, output: Path, **changes: Any) -> list[Path]:
    paths = []
    for index in range(1, SHARDS + 1):
        shard = settings(Shard(index, SHARDS), **changes)
        partial = evaluate_shard(segmenter, open_dataset(folder), settings=shard)
        (output / str(index)).mkdir(parents=True)
        partial.write(output / str(index))
        paths.append(output / str(index))
    return paths


def numbers(report: EvaluationReport) -> dict[str, Any]:
    return {key: value for key, value in report.to_dict().items() if key not in {"created", "timing"}}


@pytest.fixture
def folder(tmp_path: Path, tiny_segmenter: Segmenter) -> Path:
    made = make_labelled_folder(tmp_path / "mine", tiny_segmenter, images=IMAGES)
    (made / "images" / "photo4.png").write_bytes(b"damaged")
    document = json.loads((made / "panoptic.json").read_text())
    document["annotations"][6]["segments_info"][0]["area"] += 1  # an issue of one image
    (made / "panoptic.json").write_text(json.dumps(document))
    return made


def test_seven_uneven_shards_equal_the_single_run(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path):
    whole = evaluate(tiny_segmenter, open_dataset(folder), settings=settings())
    paths = write_shards(tiny_segmenter, folder, tmp_path / "parts")
    sizes = [len(read_partial(path).images) for path in paths]
    assert (sum(sizes), min(sizes), max(sizes)) == (IMAGES, 1, 2)
    merged = merge_partials(paths[3:] + paths[:3][::-1])
    assert numbers(merged) == numbers(whole)
    assert (
        merged.to_json().split('"timing"')[0].split('"model"')[1]
        == (whole.to_json().split('"timing"')[0].split('"model"')[1])
    )
    assert {issue.code for issue in merged.issues} >= {"image-skipped", "areas-differ"}
    assert len(merged.images) == IMAGES - 1
    iou_sums = [score.iou_sum for run in whole.runs for score in run.panoptic.per_class.values()]
    assert any(value != round(value, 6) for value in iou_sums), "the order of the sums matters"


def test_a_shard_may_be_empty(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path):
    paths = write_shards(tiny_segmenter, folder, tmp_path / "parts", limit=3)
    assert [len(read_partial(path).images) for path in paths] == [1, 1, 1, 0, 0, 0, 0]
    whole = evaluate(tiny_segmenter, open_dataset(folder), settings=settings(limit=3))
    assert numbers(merge_partials(paths)) == numbers(whole)


def test_missing_double_and_foreign_shards_are_refused(
    tiny_segmenter: Segmenter, folder: Path, tmp_path: Path
):
    paths = write_shards(tiny_segmenter, folder, tmp_path / "parts", limit=3)
    with pytest.raises(DatasetError, match="shard 2/7 is missing"):
        merge_partials([paths[0], *paths[2:]])
    with pytest.raises(DatasetError, match="shard 3/7 is given twice"):
        merge_partials([*paths, paths[2]])
    others = write_shards(tiny_segmenter, folder, tmp_path / "others", limit=3, areas="png")
    with pytest.raises(DatasetError, match=r"different evaluations \(other head, areas\)"):
        merge_partials([*paths[:6], others[6]])


@pytest.mark.parametrize("keep", [0, 1])
def test_damaged_files_are_refused(tiny_segmenter: Segmenter, folder: Path, tmp_path: Path, keep: int):
    path = write_shards(tiny_segmenter, folder, tmp_path / "parts")[0] / NAME
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3  # the header and two images
    path.write_bytes(b"".join(lines[: keep + 1]))
    with pytest.raises(DatasetError, match="images are missing or in another order"):
        read_partial(path)
    path.write_bytes(lines[0][:-20])
    with pytest.raises(DatasetError, match="not a partial file"):
        read_partial(path)
    with pytest.raises(DatasetError, match="cannot read"):
        read_partial(tmp_path)


def test_evaluate_refuses_a_shard(tiny_segmenter: Segmenter, folder: Path):
    with pytest.raises(ConfigError, match="evaluate_shard"):
        evaluate(tiny_segmenter, open_dataset(folder), settings=settings(Shard(1, 2)))
