import json
from pathlib import Path

import numpy as np
import pytest

from dataset_samples import put, put_zip
from ovrcoat.data.ade20k import Ade20k
from ovrcoat.data.ade20k_panoptic import panoptic_from_labels, prepare_ade20k
from ovrcoat.errors import DatasetError, MissingExtraError
from release_samples import ade20k

pytest.importorskip("pycocotools")
WALL, SKY, BED, WINDOW = 1, 3, 8 + 256, 9 + 512  # segment ids


@pytest.mark.parametrize("published", [False, True])
def test_instances_are_drawn_over_stuff(published: bool, tmp_path: Path):
    root = put(tmp_path / "ADEChallengeData2016", ade20k())
    done = prepare_ade20k(tmp_path, published_areas=published)
    assert done.image_count == 1
    assert done.documents == (root / "ade20k_panoptic_val.json", root / "ade20k_instance_val.json")
    dataset = Ade20k(tmp_path)
    truth = dataset.panoptic(dataset.records[0])
    # the bed's pixels of the semantic labels play no part; the sky is covered by the window
    np.testing.assert_array_equal(truth.id_map, [[WALL, WALL, BED, WINDOW], [WALL, WALL, BED, 0]])
    vanished = [(SKY, 2, 1)] if published else []
    assert [(one.id, one.category_id, one.area) for one in truth.segments] == [
        (WALL, 0, 4),
        *vanished,
        (BED, 7, 2),
        (WINDOW, 8, 1),
    ]


def test_areas_differ_only_if_asked_for():
    semantic = np.array([[3, 3, 3]], dtype=np.int32)
    labels = np.array([[[1, 1, 0], [0, 0, 0], [0, 0, 0]]], dtype=np.int32)
    _, right = panoptic_from_labels(semantic, labels, published_areas=False, location="a")
    _, published = panoptic_from_labels(semantic, labels, published_areas=True, location="a")
    assert [(one["area"], one["bbox"]) for one in right] == [(2, [1, 0, 2, 1]), (1, [0, 0, 1, 1])]
    assert [(one["area"], one["bbox"]) for one in published] == [(3, [0, 0, 3, 1]), (1, [0, 0, 1, 1])]


def test_an_interrupted_run_goes_on(tmp_path: Path):
    root = put(tmp_path / "ADEChallengeData2016", ade20k())
    first, second = (root / folder / "validation" for folder in ("annotations", "annotations_instance"))
    for folder in (first, second):
        (folder / "ADE_val_00000002.png").write_bytes((folder / "ADE_val_00000001.png").read_bytes())
    (second / "ADE_val_00000002.png").write_bytes(b"truncated")
    with pytest.raises(DatasetError, match=r"ADE_val_00000002\.png: .*; expected a complete PNG file"):
        prepare_ade20k(tmp_path)
    made = root / "ade20k_panoptic_val" / "ADE_val_00000001.png"
    before = made.stat().st_mtime_ns
    assert not (root / "ade20k_panoptic_val.json").exists()
    (second / "ADE_val_00000002.png").write_bytes((second / "ADE_val_00000001.png").read_bytes())
    assert prepare_ade20k(tmp_path).image_count == 2
    assert made.stat().st_mtime_ns == before
    instances = json.loads((root / "ade20k_instance_val.json").read_text())["annotations"]
    assert [one["id"] for one in instances] == [1, 2, 3, 4]
    assert prepare_ade20k(tmp_path).image_count == 0
    assert prepare_ade20k(tmp_path, overwrite=True).image_count == 2


def test_a_published_panoptic_json_stays(tmp_path: Path):
    root = put(tmp_path / "ADEChallengeData2016", {**ade20k(), "ade20k_panoptic_val.json": "theirs"})
    prepare_ade20k(tmp_path)
    assert (root / "ade20k_panoptic_val.json").read_text() == "theirs"
    assert (root / "ade20k_instance_val.json").exists()
    assert not (root / "ade20k_panoptic_val").exists()


def test_a_zip_is_prepared_beside_itself(tmp_path: Path):
    files = {f"ADEChallengeData2016/{name}": content for name, content in ade20k().items()}
    path = put_zip(tmp_path / "ADEChallengeData2016.zip", files)
    prepare_ade20k(path)
    assert (tmp_path / "ADEChallengeData2016" / "ade20k_panoptic_val.json").exists()
    assert "panoptic" in Ade20k(path).tasks
    assert "panoptic" in Ade20k(tmp_path).tasks


def test_labels_of_different_sizes_are_reported(tmp_path: Path):
    smaller = np.zeros((2, 3, 3), dtype=np.uint8)
    put(tmp_path, {**ade20k(), "annotations_instance/validation/ADE_val_00000001.png": smaller})
    with pytest.raises(
        DatasetError, match=r"0001\.png: 4 × 2 pixels, but its instance labels have 3 × 2; use both"
    ):
        prepare_ade20k(tmp_path)


def test_values_that_are_no_category_are_reported():
    with pytest.raises(DatasetError, match=r"a: pixels hold 200\. Expected 0 \(other\) and 1 to 150"):
        panoptic_from_labels(
            np.full((2, 3), 200, np.int32), np.zeros((2, 3, 3), np.int32), published_areas=False, location="a"
        )


def test_missing_labels_are_reported(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"annotations/validation/ not found; .*https://sceneparsing"):
        prepare_ade20k(tmp_path)
    files = {name: content for name, content in ade20k().items() if "instance" not in name}
    with pytest.raises(
        DatasetError, match=r"annotations_instance/validation/ADE_val_00000001\.png not found"
    ):
        prepare_ade20k(put(tmp_path, files))


def test_a_missing_library_is_reported_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def lacking(module: str, *, extra: str) -> None:
        raise MissingExtraError(f"no {module}: pip install 'ovrcoat[{extra}]'")

    monkeypatch.setattr("ovrcoat.data.ade20k_panoptic.import_optional", lacking)
    put(tmp_path, ade20k())
    with pytest.raises(MissingExtraError, match=r"pip install 'ovrcoat\[coco\]'"):
        prepare_ade20k(tmp_path)
    assert not list(tmp_path.glob("ade20k_*"))
