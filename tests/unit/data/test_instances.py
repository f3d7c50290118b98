from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ovrcoat.data.instances import bbox_of, image_entry, mask_entry, select_instances
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import Record

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6))
RECORDS = [Record(7, image="a.jpg", labels="a.png")]


@given(arrays.arrays(np.bool_, SHAPES).filter(np.any))
def test_a_bounding_box_is_the_smallest_that_contains_the_mask(mask: np.ndarray):
    left, top, width, height = bbox_of(mask)
    inside = mask[top : top + height, left : left + width]
    assert inside.sum() == mask.sum()
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()


def test_a_mask_entry_holds_area_box_and_run_lengths():
    codec = pytest.importorskip("pycocotools.mask")
    mask = np.array([[False, True, True], [False, False, True]])
    entry = mask_entry(mask)
    assert (entry["area"], entry["bbox"]) == (3, [1, 0, 2, 2])
    runs = entry["segmentation"] | {"counts": entry["segmentation"]["counts"].encode()}
    assert (runs["size"], int(codec.area(runs)), codec.toBbox(runs).tolist()) == ([2, 3], 3, [1, 0, 2, 2])


def test_images_are_named_without_folder():
    record = Record("a", image="images/deep/a.jpg", labels="labels/a.png")
    assert image_entry(record, height=2, width=4) == {
        "id": "a",
        "file_name": "a.jpg",
        "width": 4,
        "height": 2,
    }


@pytest.mark.parametrize("data", [{}, {"images": [{}], "annotations": []}, {"images": [3]}])
def test_instances_in_another_format_are_reported(data: dict[str, Any]):
    with pytest.raises(
        DatasetError, match=r"i\.json: this is not an instances file .* expected COCO's instances format"
    ):
        select_instances(data, RECORDS, location="i.json")


def test_instances_without_one_of_the_images_are_reported():
    data = {"images": [{"id": 8}], "annotations": [], "categories": []}
    with pytest.raises(DatasetError, match=r"i\.json: 1 of 1 images are missing, e\.g\. 7"):
        select_instances(data, RECORDS, location="i.json")
