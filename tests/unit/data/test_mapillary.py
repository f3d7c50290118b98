from pathlib import Path

import numpy as np
import pytest

from dataset_samples import picture, put
from ovrcoat.data.mapillary import Mapillary
from ovrcoat.errors import DatasetError
from release_samples import mapillary


@pytest.mark.parametrize(("nesting", "layout"), [("", "v1.2"), ("v1.2/", "v1.2 inside v2.0")])
def test_both_layouts_are_read_and_named(nesting: str, layout: str, tmp_path: Path):
    dataset = Mapillary(put(tmp_path / "mapillary_vistas", mapillary(nesting=nesting)))
    (record,) = dataset.records
    assert (dataset.layout, record.image_id) == (layout, "abc")
    assert dataset.image(record) == b"image"
    expected = [[0, 0, 27, 27], [0, -1, 27, 27]]
    np.testing.assert_array_equal(dataset.semantic(record), expected)
    assert [segment.category_id for segment in dataset.panoptic(record).segments] == [1, 28]


def test_labels_of_the_newer_list_are_reported(tmp_path: Path):
    newer = picture(np.array([[66]], dtype=np.uint8))
    dataset = Mapillary(put(tmp_path, {**mapillary(), "validation/labels/abc.png": newer}))
    with pytest.raises(DatasetError, match=r"pixels hold 66, .* labels of v1\.2, not v2\.0"):
        dataset.semantic(dataset.records[0])


def test_both_places_are_named_if_there_is_none(tmp_path: Path):
    with pytest.raises(
        DatasetError, match=r"validation/panoptic/panoptic_2018\.json or validation/v1\.2/panoptic/"
    ):
        Mapillary(tmp_path)
