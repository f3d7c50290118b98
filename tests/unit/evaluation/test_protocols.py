"""Which test resolution is used."""

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
    protocol = choose_protocol("auto", dataset=dataset, fits_published_sizes=True, model_size=(64, 128))
    assert (protocol.short_side, protocol.max_long_side) == size
    assert protocol.name == "published"
    assert ".yaml" in protocol.source


def test_nano_keeps_its_own_size_unless_requested():
    own = choose_protocol("auto", dataset="coco", fits_published_sizes=False, model_size=(320, 512))
    assert (own.name, own.short_side, own.max_long_side) == ("model", 320, 512)
    assert (
        choose_protocol("published", dataset="coco", fits_published_sizes=False, model_size=(320, 512))
        == PUBLISHED["coco"]
    )


def test_a_custom_folder_uses_the_size_of_the_model():
    assert (
        choose_protocol("auto", dataset="mine", fits_published_sizes=True, model_size=(640, 900)).short_side
        == 640
    )


def test_the_size_of_the_model_on_a_published_dataset():
    protocol = choose_protocol("model", dataset="coco", fits_published_sizes=True, model_size=(640, 900))
    assert (protocol.name, protocol.max_long_side) == ("model", 900)


def test_a_custom_size_is_reported():
    protocol = choose_protocol(
        "auto", dataset="coco", fits_published_sizes=True, model_size=(6, 9), short_side=400
    )
    assert (protocol.name, protocol.short_side, protocol.max_long_side) == ("custom", 400, 1333)
    assert "specified by the user" in protocol.source


def test_no_published_size():
    with pytest.raises(ConfigError, match="no published test resolution for 'mine', only for coco, ade20k"):
        choose_protocol("published", dataset="mine", fits_published_sizes=True, model_size=(64, 128))
