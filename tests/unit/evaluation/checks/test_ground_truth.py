"""Panoptic ground truth in files, checked without a prediction."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.ground_truth import check_ground_truth
from ovrcoat.formats.panoptic_json import PanopticSource


def write_truth(folder: Path, areas: tuple[int, int] = (8, 8), *, count: int = 1) -> PanopticSource:
    """Images of 4 × 4 pixels, the upper half segment 1, the lower 2."""
    ids = np.repeat([1, 1, 2, 2], 4).reshape(4, 4).astype(np.uint8)
    pixels = np.stack([ids, ids * 0, ids * 0], axis=-1)
    segments = [
        {"id": id, "category_id": id, "area": area, "iscrowd": 0} for id, area in enumerate(areas, start=1)
    ]
    document: dict[str, Any] = {"images": [], "annotations": []}
    document["categories"] = [{"id": id, "name": f"c{id}", "isthing": 1} for id in (1, 2)]
    for image_id in range(count):
        Image.fromarray(pixels).save(folder / f"{image_id}.png")
        document["images"].append({"id": image_id, "file_name": f"{image_id}.jpg", "width": 4, "height": 4})
        entry = {"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": segments}
        document["annotations"].append(entry)
    (folder / "truth.json").write_text(json.dumps(document))
    return PanopticSource(folder / "truth.json", folder)


def test_a_good_truth_has_no_issues(tmp_path: Path) -> None:
    issues, count = check_ground_truth(write_truth(tmp_path, count=3))
    assert (list(issues), count) == ([], 3)


def test_wrong_areas_are_reported_with_their_effect(tmp_path: Path) -> None:
    issues, _ = check_ground_truth(write_truth(tmp_path, areas=(10, 8)))
    assert [(issue.code, issue.severity) for issue in issues] == [
        ("areas-differ", "warning"),
        ("areas-cost", "note"),
    ]
    assert next(iter(issues.with_severity("note"))).examples == [
        "PQ of the ground truth against itself is 90.00"
    ]


def test_areas_that_let_iou_exceed_1_are_errors(tmp_path: Path) -> None:
    issues, _ = check_ground_truth(write_truth(tmp_path, areas=(3, 8)))
    assert "area-impossible" in {issue.code for issue in issues.with_severity("error")}


def test_images_that_cannot_be_read_do_not_hide_the_others(tmp_path: Path) -> None:
    source = write_truth(tmp_path, areas=(10, 8), count=3)
    (tmp_path / "0.png").unlink()
    Image.new("RGBA", (4, 4)).save(tmp_path / "1.png")
    issues, count = check_ground_truth(source)
    assert {"png-missing", "png-with-alpha", "areas-differ"} <= {issue.code for issue in issues}
    assert count == 3


def test_a_limit_skips_images(tmp_path: Path) -> None:
    source = write_truth(tmp_path, count=2)
    (tmp_path / "1.png").unlink()
    issues, count = check_ground_truth(source, limit=1)
    assert (list(issues), count) == ([], 1)


def test_a_json_file_that_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    source = write_truth(tmp_path)
    source.json.write_text("[1, 2]")
    with pytest.raises(DatasetError, match=r"holds a JSON list, expected COCO's panoptic format"):
        check_ground_truth(source)
    source.json.unlink()
    with pytest.raises(DatasetError, match=r"cannot read .*\.json .*check the path"):
        check_ground_truth(source)


def test_a_missing_area_is_counted_and_not_called_impossible(tmp_path: Path) -> None:
    source = write_truth(tmp_path)
    document = json.loads((tmp_path / "truth.json").read_text())
    del document["annotations"][0]["segments_info"][0]["area"]
    (tmp_path / "truth.json").write_text(json.dumps(document))
    issues, _ = check_ground_truth(source)
    assert [issue.code for issue in issues] == ["area-missing"]
