"""Which test size is used."""

import pytest

from ovrcoat.errors import ConfigError
from ovrcoat.evaluation.protocols import PUBLISHED, choose_protocol


@pytest.mark.parametrize(
    ("dataset", "size"),
    [
        ("coco", (800, 1333)),
        ("ade20k", (800, 1333)),
        ("cityscapes", (1024, 2560)),
        ("mapillary", (1024, 2560)),
    ],
)
def test_published_sizes(dataset: str, size: tuple[int, int]):
    protocol = choose_protocol("auto", dataset=dataset, family="convnext", own_size=(64, 128))
    assert (protocol.short_side, protocol.max_long_side) == size
    assert protocol.name == "published"
    assert ".yaml" in protocol.source


def test_nano_keeps_its_own_size_unless_asked():
    own = choose_protocol("auto", dataset="coco", family="nano", own_size=(320, 512))
    assert (own.name, own.short_side, own.max_long_side) == ("model", 320, 512)
    assert (
        choose_protocol("published", dataset="coco", family="nano", own_size=(320, 512)) == PUBLISHED["coco"]
    )


def test_an_own_folder_is_seen_at_the_models_size():
    assert choose_protocol("auto", dataset="mine", family="convnext", own_size=(640, 900)).short_side == 640


def test_the_models_size_on_a_published_data_set():
    protocol = choose_protocol("model", dataset="coco", family="resnet", own_size=(640, 900))
    assert (protocol.name, protocol.max_long_side) == ("model", 900)


def test_a_size_given_by_hand_is_told():
    protocol = choose_protocol("auto", dataset="coco", family="resnet", own_size=(6, 9), short_side=400)
    assert (protocol.name, protocol.short_side, protocol.max_long_side) == ("chosen", 400, 1333)
    assert "by hand" in protocol.source


def test_no_published_size():
    with pytest.raises(ConfigError, match="no published test size for 'mine', only for coco, ade20k"):
        choose_protocol("published", dataset="mine", family="convnext", own_size=(64, 128))
