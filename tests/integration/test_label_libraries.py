"""The label formats, read by the libraries of the tools themselves.

These libraries are large, so `./check` does not install them, and skips the tests of those that are missing.
To run all: pip install label-studio-sdk labelme datumaro cityscapesscripts fiftyone
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from label_scene import HEIGHT, ID_MAP, IMAGE, NAME, SCENES, WIDTH, panoptic_scene, write_scene_image
from ovrcoat.results.exports.coco_instances import IDS_PER_IMAGE
from ovrcoat.results.result import Result

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries
STEM = Path(NAME).stem


def shown_masks(result: Result) -> dict[int, np.ndarray]:
    return {segment.id: result.mask(segment.id) for segment in result.shown().segments}


@pytest.mark.parametrize("task", SCENES)
@pytest.mark.parametrize("has_file", [True, False], ids=["file", "pixels"])
def test_labelme_opens_the_file_and_draws_the_masks(task: str, has_file: bool, tmp_path: Path):
    label_file = pytest.importorskip("labelme._label_file", exc_type=ImportError)
    from labelme.utils.shape import shapes_to_label

    result = SCENES[task]()
    source = write_scene_image(tmp_path) if has_file else None
    result.save(tmp_path / "out", format="labelme", source=source)
    loaded = label_file.read_label_file(str(tmp_path / "out" / "labelme" / f"{STEM}.json"))
    masks = shown_masks(result)
    assert [shape["group_id"] for shape in loaded.shapes] == list(masks)
    for shape in loaded.shapes:
        drawn, _ = shapes_to_label(IMAGE.shape, [shape], {shape["label"]: 1})
        assert np.array_equal(drawn > 0, masks[shape["group_id"]])


@pytest.mark.parametrize("task", SCENES)
def test_label_studio_accepts_tasks_and_decodes_masks(task: str, tmp_path: Path):
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    from label_studio_sdk.label_interface import LabelInterface

    result = SCENES[task]()
    result.save(tmp_path, format="label-studio")
    interface = LabelInterface((tmp_path / "label-studio" / "labeling-config.xml").read_text())
    interface.validate()
    (loaded,) = json.loads((tmp_path / "label-studio" / f"{STEM}.json").read_text())
    assert interface.validate_task({"data": loaded["data"]})
    (prediction,) = loaded["predictions"]
    assert interface.validate_prediction(prediction)
    masks = shown_masks(result)
    for region in prediction["result"]:
        layers = brush.decode_rle(region["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)
        assert np.array_equal(layers[..., 3] == 255, masks[region["meta"]["segment_id"]])


@pytest.mark.parametrize("task", SCENES)
def test_datumaro_reads_what_cvat_imports(task: str, tmp_path: Path):
    """CVAT reads COCO through its own version of datumaro."""
    datumaro = pytest.importorskip("datumaro", exc_type=ImportError)
    pytest.importorskip("pycocotools")
    result = SCENES[task]()
    result.save(tmp_path, format="cvat")
    (tmp_path / "cvat" / "images").mkdir()  # datumaro wants it, CVAT does not
    (item,) = datumaro.Dataset.import_from(str(tmp_path / "cvat"), "coco")
    assert item.id == STEM
    found = [one for one in item.annotations if one.type == datumaro.AnnotationType.mask]
    masks = shown_masks(result)
    assert sorted(one.id % IDS_PER_IMAGE for one in found) == list(masks)
    for annotation in found:
        assert np.array_equal(annotation.image.astype(bool), masks[annotation.id % IDS_PER_IMAGE])


def test_cityscapes_scripts_read_the_instances(tmp_path: Path):
    instance = pytest.importorskip("cityscapesscripts.evaluation.instance")
    from PIL import Image

    panoptic_scene().save(tmp_path, format="cityscapes")
    values = np.asarray(Image.open(tmp_path / "cityscapes" / f"{STEM}_gtFine_instanceIds.png"))
    found = [instance.Instance(values, value).toDict() for value in np.unique(values) if value]
    assert [(one["instID"], one["labelID"], one["pixelCount"]) for one in found] == [
        (12, 12, (ID_MAP == 4).sum()),
        (7000, 7, (ID_MAP == 1).sum()),
        (7001, 7, (ID_MAP == 3).sum()),
        (9000, 9, (ID_MAP == 2).sum()),
    ]


def test_filling_yolo_polygons_as_ultralytics_does_only_adds_edges(tmp_path: Path):
    """Ultralytics rounds down and fills with OpenCV, which adds the pixels of the edge."""
    cv2 = pytest.importorskip("cv2")
    panoptic_scene().save(tmp_path, format="yolo")
    lines = (tmp_path / "yolo" / "labels" / f"{STEM}.txt").read_text().splitlines()
    for id, line in enumerate(lines, start=1):
        polygon = np.array(line.split()[1:], dtype=float).reshape(-1, 2) * (WIDTH, HEIGHT)
        filled = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        cv2.fillPoly(filled, [polygon.round(4).astype(np.int32)], 1)
        mask = panoptic_scene().mask(id)
        assert filled[mask].all()
        if id == 1:
            assert not filled[5:8, 5:9].any(), "the hole is kept, apart from its edge"


def test_labels_that_label_studio_exports_are_not_replaced(tmp_path: Path):
    pytest.importorskip("label_studio_sdk")
    from ovrcoat.errors import OutputError

    panoptic_scene().save(tmp_path, format="label-studio")
    path = tmp_path / "label-studio" / f"{STEM}.json"
    (exported,) = json.loads(path.read_text())
    path.write_text(json.dumps([{"id": 1, "annotations": [], **exported}]))  # the order of its export
    with pytest.raises(OutputError, match="was not written by ovrcoat"):
        panoptic_scene().save(tmp_path, format="label-studio")
    shutil.rmtree(tmp_path / "label-studio")
    assert panoptic_scene().save(tmp_path, format="label-studio")
