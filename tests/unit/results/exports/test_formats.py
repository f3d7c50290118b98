"""What each format holds, read back by its library or by this package's own readers."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from label_scene import (
    CATEGORIES,
    ID_MAP,
    IMAGE,
    NAME,
    SCENES,
    empty_scene,
    panoptic_scene,
    write_scene_image,
)
from ovrcoat.data.catalog import open_dataset
from ovrcoat.results.exports.table import FORMATS
from ovrcoat.results.result import Result

STEM = Path(NAME).stem

# of pycocotools, with NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def save(result: Result, folder: Path, format: str, **options: Path) -> Path:
    """Write one format; returns its folder."""
    paths = result.save(folder, format=format, **options)
    assert all(path.exists() for path in paths)
    return folder / format


def shown_masks(result: Result) -> dict[int, np.ndarray]:
    return {segment.id: result.mask(segment.id) for segment in result.shown().segments}


@pytest.mark.parametrize(
    ("format", "task"), [(name, task) for name, row in FORMATS.items() for task in row.tasks]
)
def test_every_format_holds_every_task_that_the_table_names(format: str, task: str, tmp_path: Path):
    pytest.importorskip("pycocotools")
    first = SCENES[task]().save(tmp_path, format=format)
    again = SCENES[task]().save(tmp_path, format=format)
    assert first == again
    assert all(path.stat().st_size for path in first)


@pytest.mark.parametrize("format", [name for name, row in FORMATS.items() if "panoptic" in row.tasks])
def test_an_image_without_segments_is_written(format: str, tmp_path: Path):
    pytest.importorskip("pycocotools")
    paths = empty_scene().save(tmp_path, format=format)
    assert all(path.exists() for path in paths)


@pytest.mark.parametrize("task", ["panoptic", "instance"])
@pytest.mark.parametrize(
    ("format", "file"),
    [("coco-instances", "instances.json"), ("cvat", "annotations/instances_default.json")],
)
def test_coco_masks_are_exact(task: str, format: str, file: str, tmp_path: Path):
    coco = pytest.importorskip("pycocotools.coco")
    result = SCENES[task]()
    loaded = coco.COCO(str(save(result, tmp_path, format) / file))
    (image,) = loaded.imgs.values()
    assert (image["file_name"], image["height"], image["width"]) == (NAME, *ID_MAP.shape)
    masks = {entry["segment_id"]: loaded.annToMask(entry).astype(bool) for entry in loaded.anns.values()}
    assert masks.keys() == shown_masks(result).keys()
    assert all(np.array_equal(masks[id], mask) for id, mask in shown_masks(result).items())
    names = {entry["segment_id"]: loaded.cats[entry["category_id"]]["name"] for entry in loaded.anns.values()}
    assert names == {segment.id: segment.category for segment in result.shown().segments}
    assert all(entry["iscrowd"] == 0 and len(entry["bbox"]) == 4 for entry in loaded.anns.values())


def test_cvat_gets_no_category_0_and_no_supercategory(tmp_path: Path):
    pytest.importorskip("pycocotools")
    folder = save(panoptic_scene(), tmp_path, "cvat")
    document = json.loads((folder / "annotations" / "instances_default.json").read_text())
    assert [category["id"] for category in document["categories"]] == [1, 2, 3, 4]
    assert {category["supercategory"] for category in document["categories"]} == {""}


@pytest.mark.parametrize("task", ["panoptic", "semantic"])
def test_the_semantic_png_is_read_as_a_semantic_dataset(task: str, tmp_path: Path):
    folder = save(SCENES[task](), tmp_path, "semantic-png")
    (folder / "images").mkdir()
    write_scene_image(folder / "images")
    dataset = open_dataset(folder)
    (record,) = dataset.records
    expected = np.array([-1, 0, 1, 0, 2])[ID_MAP]
    truth = dataset.semantic(record)
    assert np.array_equal(truth[ID_MAP > 0], expected[ID_MAP > 0])
    assert (truth[ID_MAP == 0] < 0).all()
    assert [category.name for category in dataset.categories] == [category.name for category in CATEGORIES]


@pytest.mark.parametrize(("count", "mode"), [(254, "L"), (255, "I;16")])
def test_many_categories_need_16_bits(count: int, mode: str, tmp_path: Path):
    import dataclasses

    from ovrcoat.vocabulary import Category

    categories = tuple(Category((f"class {id}",), True, id) for id in range(1, count + 1))
    result = panoptic_scene()
    last = dataclasses.replace(result.segments[0], category_id=count, category=f"class {count}")
    ring = (ID_MAP == 1).astype(np.int32)
    result = dataclasses.replace(result, id_map=ring, segments=(last,), categories=categories)
    folder = save(result, tmp_path, "semantic-png")
    with Image.open(folder / "labels" / f"{STEM}.png") as png:
        assert png.mode == mode
        assert np.unique(np.asarray(png)).tolist() == [0, count]


@pytest.mark.parametrize("source", [True, False], ids=["file", "pixels"])
def test_yolo_is_a_dataset_with_exact_masks(source: bool, tmp_path: Path):
    result = panoptic_scene()
    options = {"source": write_scene_image(tmp_path)} if source else {}
    folder = save(result, tmp_path / "out", "yolo", **options)
    with Image.open(folder / "images" / NAME) as copy:
        assert np.array_equal(np.asarray(copy), IMAGE)
    dataset = open_dataset(folder)
    assert [category.name for category in dataset.categories] == [category.name for category in CATEGORIES]
    (record,) = dataset.records
    shapes = dataset.shapes(record, ID_MAP.shape)
    assert [shape.category_id for shape in shapes] == [0, 1, 0, 2]
    from ovrcoat.formats.polygons import fill_polygon

    for segment, shape in zip(result.segments, shapes, strict=True):
        (polygon,) = shape.polygons
        filled = fill_polygon(polygon, height=ID_MAP.shape[0], width=ID_MAP.shape[1])
        assert np.array_equal(filled, result.mask(segment.id))


def test_yolo_coordinates_are_normalized(tmp_path: Path):
    folder = save(panoptic_scene(), tmp_path, "yolo")
    lines = (folder / "labels" / f"{STEM}.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "0", "2"]
    values = np.array([float(value) for line in lines for value in line.split()[1:]])
    assert 0 <= values.min() < values.max() <= 1
    assert all(len(line.split()) % 2 == 1 for line in lines)


def test_cityscapes_values_hold_category_and_instance(tmp_path: Path):
    folder = save(panoptic_scene(), tmp_path, "cityscapes")
    with Image.open(folder / f"{STEM}_gtFine_instanceIds.png") as png:
        assert png.mode == "I;16"
        values = np.asarray(png)
    assert np.array_equal(values, np.array([0, 7000, 9000, 7001, 12])[ID_MAP])
    labels = json.loads((folder / "labels.json").read_text())["labels"]
    assert [(label["id"], label["hasInstances"]) for label in labels][::3] == [(7, True), (40, False)]


@pytest.mark.parametrize("task", SCENES)
def test_labelme_masks_are_exact(task: str, tmp_path: Path):
    result = SCENES[task]()
    source = write_scene_image(tmp_path)
    folder = save(result, tmp_path / "out", "labelme", source=source)
    document = json.loads((folder / f"{STEM}.json").read_text())
    assert (folder / document["imagePath"]).resolve() == source.resolve()
    assert document["imageData"] is None
    masks = shown_masks(result)
    assert [shape["group_id"] for shape in document["shapes"]] == list(masks)
    (folder / NAME).write_bytes(source.read_bytes())
    dataset = open_dataset(folder)
    (record,) = dataset.records
    for shape, mask in zip(dataset.shapes(record, ID_MAP.shape), masks.values(), strict=True):
        top, left, crop = shape.mask
        found = np.zeros(ID_MAP.shape, dtype=bool)
        found[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        assert np.array_equal(found, mask)


def test_labelme_embeds_an_image_without_a_file(tmp_path: Path):
    import base64
    import io

    folder = save(panoptic_scene(), tmp_path, "labelme")
    document = json.loads((folder / f"{STEM}.json").read_text())
    with Image.open(io.BytesIO(base64.b64decode(document["imageData"]))) as embedded:
        assert np.array_equal(np.asarray(embedded), IMAGE)
    assert (folder / "labels.txt").read_text().splitlines()[:3] == ["__ignore__", "_background_", "ring"]


def test_label_studio_gets_regions_of_the_right_size_and_valid_xml(tmp_path: Path):
    from xml.etree import ElementTree

    folder = save(panoptic_scene(), tmp_path / "out", "label-studio", source=Path("my photos/é.jpg"))
    (task,) = json.loads((folder / f"{STEM}.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=my%20photos/%C3%A9.jpg"
    (prediction,) = task["predictions"]
    sizes = {(one["original_height"], one["original_width"]) for one in prediction["result"]}
    assert sizes == {ID_MAP.shape}
    assert [one["meta"]["segment_id"] for one in prediction["result"]] == [1, 2, 3, 4]
    config = ElementTree.parse(folder / "labeling-config.xml")
    names = [label.get("value") for label in config.iter("Label")]
    assert names == [category.name for category in CATEGORIES]


@pytest.mark.parametrize("task", SCENES)
def test_json_lines_hold_all_segments(task: str, tmp_path: Path):
    codec = pytest.importorskip("pycocotools.mask")
    result = SCENES[task]()
    folder = save(result, tmp_path, "jsonl")
    (line,) = (folder / "segments.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert (record["file_name"], record["task"]) == (NAME, task)
    assert [entry["id"] for entry in record["segments"]] == [segment.id for segment in result.segments]
    for entry in record["segments"]:
        assert np.array_equal(codec.decode(entry["segmentation"]).astype(bool), result.mask(entry["id"]))


@pytest.mark.parametrize("task", SCENES)
def test_npz_holds_all_segments_without_pickle(task: str, tmp_path: Path):
    result = SCENES[task]()
    folder = save(result, tmp_path, "npz")
    with np.load(folder / f"{STEM}.npz", allow_pickle=False) as arrays:
        assert arrays["category"].tolist() == [segment.category for segment in result.segments]
        assert arrays["bbox"].tolist() == [list(segment.bbox) for segment in result.segments]
        for index, segment in enumerate(result.segments):
            found = arrays["masks"][index] if task == "instance" else arrays["segment_map"] == segment.id
            assert np.array_equal(found, result.mask(segment.id))
