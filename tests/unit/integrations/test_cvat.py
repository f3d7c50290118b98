"""The auto-annotation function, called as CVAT's SDK calls it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovrcoat.errors import ConfigError
from ovrcoat.formats.polygons import fill_polygon
from ovrcoat.integrations import cvat
from ovrcoat.segmentation.segmenter import Segmenter

auto_annotation = pytest.importorskip("cvat_sdk.auto_annotation")
masks = pytest.importorskip("cvat_sdk.masks")

VOCABULARY = "cat, kitty; dog#thing; sky#stuff; road#stuff"


@dataclass
class Context:
    """The options that CVAT passes with each image."""

    conf_threshold: float | None = None
    conv_mask_to_poly: bool = False


@pytest.fixture
def image(image_pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(image_pixels)


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch, tiny_segmenter: Segmenter) -> cvat.AutoAnnotation:
    monkeypatch.setattr(Segmenter, "load", lambda model, **options: tiny_segmenter)
    return cvat.create(VOCABULARY, background="none")


def expected(segmenter: Segmenter, image: Image.Image, **options: Any) -> Any:
    return segmenter.segment(image, VOCABULARY, background="none", **options)


def test_the_labels_are_the_categories(function: cvat.AutoAnnotation):
    assert isinstance(function.spec, auto_annotation.DetectionFunctionSpec)
    assert [(label.name, label.id, label.type) for label in function.spec.labels] == [
        ("cat", 1, "mask"),
        ("dog", 2, "mask"),
        ("sky", 3, "mask"),
        ("road", 4, "mask"),
    ]


def test_masks_are_exact(function: cvat.AutoAnnotation, tiny_segmenter: Segmenter, image: Image.Image):
    result = expected(tiny_segmenter, image)
    shapes = function.detect(Context(), image)
    assert [shape.label_id for shape in shapes] == [segment.category_id for segment in result.segments]
    assert len(shapes) > 0
    for shape, segment in zip(shapes, result.segments, strict=True):
        mask = masks.decode_mask(shape.points, image_width=image.width, image_height=image.height)
        assert np.array_equal(mask, result.mask(segment.id))


def test_polygons_of_a_segment_are_a_group(
    function: cvat.AutoAnnotation, tiny_segmenter: Segmenter, image: Image.Image
):
    result = expected(tiny_segmenter, image)
    shapes = function.detect(Context(conv_mask_to_poly=True), image)
    assert {shape.type.value for shape in shapes} == {"polygon"}
    groups = sorted({shape.group for shape in shapes})
    assert groups == [segment.id for segment in result.segments]
    for group, segment in zip(groups, result.segments, strict=True):
        filled = np.zeros((image.height, image.width), dtype=bool)
        for shape in shapes:
            if shape.group == group:
                points = np.array(shape.points).reshape(-1, 2)
                filled |= fill_polygon(points, height=image.height, width=image.width)
        assert (filled | ~result.mask(segment.id)).all(), "holes are lost, and nothing else"
    later = function.detect(Context(conv_mask_to_poly=True), image)
    assert not {shape.group for shape in later} & set(groups), "groups are numbered per job"


def test_the_threshold_leaves_out_weak_segments(function: cvat.AutoAnnotation, image: Image.Image):
    assert function.detect(Context(conf_threshold=1.0), image) == []


def test_instances(function: cvat.AutoAnnotation, tiny_segmenter: Segmenter, image: Image.Image):
    of_instances = cvat.create(VOCABULARY, task="instance", background="none")
    result = expected(tiny_segmenter, image, task="instance", score_threshold=0.0)
    assert len(of_instances.detect(Context(conf_threshold=0.0), image)) == len(result.segments) > 0
    with pytest.raises(ConfigError, match="the task 'semantic' is not valid for CVAT"):
        cvat.create(VOCABULARY, task="semantic")
