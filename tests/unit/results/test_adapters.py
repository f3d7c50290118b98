import numpy as np
import pytest

from label_scene import CATEGORIES, ID_MAP, SCENES, empty_scene, instance_scene, panoptic_scene
from ovrcoat.errors import MissingExtraError
from ovrcoat.results.result import Result


@pytest.mark.parametrize("task", ["panoptic", "semantic"])
def test_hf_dict_of_a_map(task: str):
    result: Result = SCENES[task]()
    outputs = result.to_hf()
    assert np.array_equal(outputs["segmentation"].numpy(), result.segment_map())
    assert [list(info) for info in outputs["segments_info"]] == [
        ["id", "label_id", "was_fused", "score"]
    ] * len(result.segments)
    assert [info["was_fused"] for info in outputs["segments_info"]] == [
        not segment.is_thing for segment in result.segments
    ]


def test_hf_dict_of_instances_has_a_map_per_segment():
    result = instance_scene()
    maps = result.to_hf()["segmentation"].numpy()
    assert all(np.array_equal(maps[i], result.mask(i + 1)) for i in range(4))
    assert empty_scene().to_hf()["segments_info"] == []


def test_supervision_reads_the_hf_dict():
    supervision = pytest.importorskip("supervision")
    names = {category.id: category.name for category in CATEGORIES}
    result = panoptic_scene()
    detections = supervision.Detections.from_transformers(result.to_hf(), id2label=names)
    assert detections.class_id.tolist() == [7, 9, 7, 12]
    assert np.array_equal(detections.mask, np.stack([id == ID_MAP for id in (1, 2, 3, 4)]))


def test_supervision_annotators_draw_a_result():
    supervision = pytest.importorskip("supervision")
    result = panoptic_scene()
    drawn = supervision.MaskAnnotator().annotate(result.image.copy(), result.to_supervision())
    assert (drawn != result.image).any(axis=-1).tolist() == (ID_MAP > 0).tolist()


def test_fiftyone_gets_things_stuff_and_segment_ids():
    pytest.importorskip("fiftyone", exc_type=ImportError)
    labels = panoptic_scene().to_fiftyone()
    things = labels["things"].detections
    assert [thing.segment_id for thing in things] == [1, 2, 3]
    assert [thing.mask.sum() for thing in things] == [(id == ID_MAP).sum() for id in (1, 2, 3)]
    assert things[0].bounding_box == pytest.approx([1 / 32, 1 / 24, 13 / 32, 11 / 24])
    assert np.array_equal(labels["stuff"].mask, np.where(ID_MAP == 4, 3, 0))
    assert labels["stuff"].segments == [{"segment_id": 4, "value": 3, "label": "wall", "confidence": 0.75}]
    assert list(instance_scene().to_fiftyone()) == ["things"]


def test_without_fiftyone_its_command_is_named(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ovrcoat\[fiftyone\]'"):
        panoptic_scene().to_fiftyone()
