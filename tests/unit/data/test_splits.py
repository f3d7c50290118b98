import pytest

from ovrcoat.data.splits import check_split
from ovrcoat.errors import DatasetError


def test_known_splits_pass_and_others_are_reported():
    assert check_split("val", ("val", "train"), name="coco") is None
    with pytest.raises(DatasetError, match="coco has no labeled split 'test'; choose one of val, train"):
        check_split("test", ("val", "train"), name="coco")
