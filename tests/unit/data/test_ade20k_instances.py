import numpy as np
import pytest

from ovrcoat.data.ade20k_instances import instance_annotations, instance_masks, thing_entries, things


def test_the_100_things_are_in_the_order_of_their_ids():
    ids = [category.id for category in things()]
    assert (len(ids), ids[:2]) == (100, [7, 8])
    assert ids == sorted(ids)
    assert thing_entries()[0] == {"id": 7, "name": things()[0].name}


def test_number_0_is_no_instance_and_numbers_ascend():
    labels = np.array([[[0, 0, 0], [3, 2, 0], [1, 1, 9]]], dtype=np.int32)
    found = [
        (number, category, mask.tolist()) for number, category, mask in instance_masks(labels, location="a")
    ]
    assert [one[0] for one in found] == [1, 2]
    assert found[0][1:] == (7, [[False, False, True]])


def test_annotations_are_numbered_from_where_the_last_image_ended():
    pytest.importorskip("pycocotools")
    labels = np.array([[[3, 2, 0], [1, 1, 0]]], dtype=np.int32)
    found = instance_annotations(labels, image_id="x", first_id=5, location="a")
    assert [(one["id"], one["image_id"], one["iscrowd"], one["area"]) for one in found] == [
        (5, "x", 0, 1),
        (6, "x", 0, 1),
    ]
