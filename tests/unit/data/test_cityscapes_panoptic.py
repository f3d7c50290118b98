from pathlib import Path

import numpy as np
import pytest

from dataset_samples import put, put_zip
from ovrcoat.data.cityscapes import Cityscapes
from ovrcoat.data.cityscapes_panoptic import panoptic_from_instance_ids, prepare_cityscapes
from ovrcoat.errors import DatasetError
from release_samples import cityscapes


def test_every_evaluated_value_is_a_segment():
    values = np.array([[7, 26_000, 26_001], [24, 9, 1]], dtype=np.int32)
    id_map, segments = panoptic_from_instance_ids(values)
    np.testing.assert_array_equal(id_map, [[7, 26_000, 26_001], [24, 0, 0]])
    assert [(one["id"], one["category_id"], one["iscrowd"]) for one in segments] == [
        (7, 7, 0),
        (24, 24, 1),  # a group of persons
        (26_000, 26, 0),
        (26_001, 26, 0),
    ]


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_prepared_files_are_found(form: str, tmp_path: Path):
    home = tmp_path / "cityscapes"
    if form == "folder":
        put(home, cityscapes())
    else:
        put_zip(home / "all.zip", cityscapes())
    done = prepare_cityscapes(tmp_path)
    assert (done.image_count, done.documents) == (1, (home / "gtFine" / "cityscapes_panoptic_val.json",))
    dataset = Cityscapes(tmp_path)
    truth = dataset.panoptic(dataset.records[0])
    np.testing.assert_array_equal(truth.id_map, [[7, 7, 26_000, 0], [7, 24, 26_000, 0]])
    assert [one.area for one in truth.segments] == [3, 1, 2]
    assert prepare_cityscapes(tmp_path).image_count == 0
    assert prepare_cityscapes(tmp_path, overwrite=True).image_count == 1


def test_progress_is_reported(tmp_path: Path):
    seen: list[str] = []
    put(tmp_path, cityscapes())
    prepare_cityscapes(tmp_path, track=lambda items: (seen.append(item) or item for item in items))
    assert seen == ["gtFine/val/ulm/ulm_000001_000002_gtFine_instanceIds.png"]


def test_missing_labels_are_reported(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"gtFine/val/\*/\*_gtFine_instanceIds\.png not found; .*https://"):
        prepare_cityscapes(tmp_path)
