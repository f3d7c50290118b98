import importlib
from pathlib import Path

import numpy as np
import pytest

from ovrcoat.errors import MissingExtraError, OvrcoatError
from ovrcoat.results import PanopticResult
from ovrcoat.results.result import Result

from .samples import CATEGORIES, ID_MAP, instance_result, panoptic_result, semantic_result

RESULTS = {"panoptic": panoptic_result, "semantic": semantic_result, "instance": instance_result}
empty = PanopticResult(np.zeros((2, 3), dtype=np.int32), (), CATEGORIES)


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_masks_have_the_areas_of_their_segments(make):
    result: Result = make()
    for segment in result.segments:
        mask = result.mask(segment.id)
        assert mask.shape == result.size
        assert mask.sum() == segment.area


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_an_unknown_segment_is_refused(make):
    with pytest.raises(OvrcoatError, match=r"no segment 99; the ids of this result are 1, 2"):
        make().mask(99)


def test_void_is_no_segment_of_an_empty_result():
    with pytest.raises(OvrcoatError, match=r"no segment 0; .* none: this result is empty"):
        empty.mask(0)


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_drawing_keeps_the_image_on_top(make):
    result: Result = make()
    height, width = result.size
    drawing = result.draw()
    assert drawing.width >= width
    assert drawing.height > height


def test_without_a_image_colours_come_on_white():
    drawing = np.asarray(panoptic_result(image=None).draw())
    assert (drawing[:2, 0] == 255).all()
    assert (drawing[2, 0] < 255).any()


def test_weak_instances_are_not_painted_and_better_ones_lie_on_top():
    assert instance_result().segment_map().tolist() == [[0, 1, 1, 2], [0, 1, 2, 2], [2, 2, 2, 2]]


def test_the_best_instances_are_those_above_the_threshold_without_duplicates():
    result = instance_result()
    assert [segment.id for segment in result.filtered().segments] == [1, 2]
    assert [segment.id for segment in result.filtered(0.0).segments] == [1, 2, 3]
    assert [segment.id for segment in result.filtered(0.6).segments] == [1]
    # 3 of 10 pixels and 2 of 10 pixels are in common
    assert [segment.id for segment in result.filtered(0.0, duplicate_iou=0.3).segments] == [1, 3]
    best = result.filtered(0.0, duplicate_iou=0.3)
    assert len(best.masks) == 2
    assert (best.mask(3) == (ID_MAP == 3)).all()
    assert best.segment_map().tolist() == np.where(ID_MAP == 2, 0, ID_MAP).tolist()  # weak, but asked for


def test_semantic_and_panoptic_paint_their_maps():
    assert panoptic_result().segment_map() is ID_MAP
    assert semantic_result().segment_map().tolist() == [[1, 1], [0, 2]]


def test_summary_is_the_table():
    assert panoptic_result().summary().startswith("room.jpg: 4 × 3 pixels, 3 segments\n")


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_supervision_gets_everything(make):
    pytest.importorskip("supervision")
    result: Result = make()
    detections = result.to_supervision()
    assert detections.class_id.tolist() == [segment.category_id for segment in result.segments]
    assert detections.data["class_name"].tolist() == [segment.category for segment in result.segments]
    assert detections.data["isthing"].tolist() == [segment.is_thing for segment in result.segments]
    assert detections.data["segment_id"].tolist() == [segment.id for segment in result.segments]
    assert detections.confidence == pytest.approx([segment.score for segment in result.segments])
    assert detections.area.tolist() == [segment.area for segment in result.segments]
    left, top, width, height = result.segments[0].bbox
    assert detections.xyxy[0].tolist() == [left, top, left + width, top + height]


def test_supervision_of_nothing():
    pytest.importorskip("supervision")
    assert len(empty.to_supervision()) == 0


@pytest.mark.parametrize(
    ("call", "extra"),
    [(panoptic_result().to_supervision, "supervision"), (instance_result().to_coco, "coco")],
    ids=["supervision", "coco"],
)
def test_a_missing_library_is_named_with_its_command(call, extra: str, monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=rf"pip install 'ovrcoat\[{extra}\]'"):
        call()


def test_saving_twice_needs_no_permission(tmp_path: Path):
    first = panoptic_result().save(tmp_path)
    second = panoptic_result().save(tmp_path)
    assert first == second
    assert [path.name for path in first] == ["room.png", "room.overlay.jpg", "panoptic.json"]
