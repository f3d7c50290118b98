"""Own labels as other tools export them: COCO instances, YOLO segmentation, Labelme."""

import base64
import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset_samples import put_zip
from exported_labels import (
    CAR,
    CATEGORY_MAP,
    HEIGHT,
    WHEEL,
    WIDTH,
    labelme_document,
    write_coco,
    write_image,
    write_labelme,
    write_yolo,
    yolo_lines,
)
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.errors import DatasetError
from ovrcoat.issues import Issue


def runs_of(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths."""
    flat = [0, *mask.T.ravel().tolist()]
    changes = np.flatnonzero(np.diff(flat)).tolist()
    return np.diff([0, *changes, mask.size]).tolist()


CROWD = [1, 1, 5, 1, 5, 5, 1, 5]
WRITERS = {
    "Roboflow COCO": write_coco,
    "CVAT COCO": lambda root: write_coco(
        root, document="annotations/instances_default.json", image="images/default/one.png"
    ),
    "Label Studio COCO": lambda root: write_coco(
        root, document="result.json", image="images/a1-one.png", file_name="images\\a1-one.png"
    ),
    "upload path": lambda root: write_coco(
        root, document="result.json", image="images/a1-one.png", file_name="/data/upload/1/a1-one.png"
    ),
    "Ultralytics YOLO": write_yolo,
    "YOLO with a map of names": lambda root: write_yolo(
        root, names="names:\n  0: road\n  1: car\n  2: wheel\n"
    ),
    "Labelme": write_labelme,
}


def category_names(dataset: Dataset, labels: Any) -> list[list[str]]:
    names = [category.name for category in dataset.categories]
    return [["" if value < 0 else names[value] for value in row] for row in labels.tolist()]


def found(dataset: Dataset, code: str) -> Issue:
    (issue,) = [issue for issue in dataset.issues if issue.code == code]
    return issue


@pytest.mark.parametrize("writer", WRITERS)
def test_every_format_gives_the_same_ground_truth(writer: str, tmp_path: Path):
    pytest.importorskip("pycocotools")
    dataset = open_dataset(WRITERS[writer](tmp_path / "cars"))
    (record,) = dataset.records
    assert dataset.tasks == {"panoptic", "semantic", "instance"}
    assert [(c.name, c.is_thing) for c in dataset.categories if c.name != "wheel"] == (
        [("car", True), ("road", False)] if writer == "Labelme" else [("road", False), ("car", True)]
    )
    expected = np.array(["", "road", "car", "wheel"])[CATEGORY_MAP].tolist()
    assert category_names(dataset, dataset.semantic(record)) == expected
    truth = dataset.panoptic(record)
    assert sorted(segment.area for segment in truth.segments) == [4, 12, 16]
    assert [segment.id for segment in truth.segments] == [segment.id for segment in record.segments]
    instances = dataset.instances(dataset.records)
    assert sorted(one["area"] for one in instances["annotations"]) == [4, 16]  # complete, although covered
    assert Image.open(io.BytesIO(dataset.image(record))).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_zip_file_is_the_same_dataset(writer: str, tmp_path: Path):
    root = WRITERS[writer](tmp_path / "cars")
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    packed = open_dataset(put_zip(tmp_path / "cars.zip", files))
    assert packed.fingerprint() == open_dataset(root).fingerprint()
    assert packed.panoptic(packed.records[0]).id_map.any()


@pytest.mark.parametrize("writer", WRITERS)
def test_the_fingerprint_changes_with_a_polygon(writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before = open_dataset(WRITERS[writer](tmp_path / "before")).fingerprint()
    monkeypatch.setattr("exported_labels.SHAPES", (("road", CAR), ("car", CAR), ("wheel", WHEEL)))
    assert open_dataset(WRITERS[writer](tmp_path / "after")).fingerprint() != before


# splits


@pytest.mark.parametrize("layout", ["coco", "ultralytics", "roboflow", "labelme"])
def test_splits_are_found_in_any_spelling(layout: str, tmp_path: Path):
    for split in ("train", "valid"):
        if layout == "coco":
            write_coco(tmp_path / split)
        elif layout == "labelme":
            (tmp_path / split).mkdir()
            write_labelme(tmp_path / split)
        else:
            write_yolo(tmp_path, folder=f"%s/{split}" if layout == "ultralytics" else f"{split}/%s")
    assert open_dataset(tmp_path).split == "valid"
    assert open_dataset(tmp_path, split="val").split == "valid"
    dataset = open_dataset(tmp_path, split="train")
    assert (dataset.split, len(dataset)) == ("train", 1)
    assert "train" in dataset.records[0].image
    assert not dataset.issues
    with pytest.raises(DatasetError, match="has no split 'test'; choose one of its splits: train, valid"):
        open_dataset(tmp_path, split="test")


def test_a_folder_without_splits_has_no_train(tmp_path: Path):
    with pytest.raises(DatasetError, match="has no splits, but split 'train' was requested"):
        open_dataset(write_yolo(tmp_path), split="train")


# COCO


def annotation(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 0, "category_id": 2, "segmentation": [CAR], "iscrowd": 0} | changes


def test_run_lengths_and_crowds(tmp_path: Path):
    pytest.importorskip("pycocotools")
    mask = CATEGORY_MAP == 3
    annotations = [
        annotation(segmentation={"size": [HEIGHT, WIDTH], "counts": runs_of(mask)}),
        annotation(id=2, category_id=3, segmentation=[CROWD], iscrowd=1),
    ]
    dataset = open_dataset(write_coco(tmp_path, annotations=annotations))
    (record,) = dataset.records
    truth = dataset.panoptic(record)
    assert [(one.category_id, one.area, one.is_crowd) for one in truth.segments] == [
        (2, 4, False),
        (3, 12, True),
    ]
    np.testing.assert_array_equal(truth.id_map == 1, mask)
    assert [one["iscrowd"] for one in dataset.instances([record])["annotations"]] == [0, 1]


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        (
            [annotation(segmentation=[])],
            r"no object with a mask to use \(objects have only a box and no mask",
        ),
        (
            [annotation(segmentation=[[1, 2, 3, 4]])],
            "masks are neither polygons of at least 3 points nor run",
        ),
        ([annotation(segmentation={"size": [6, 8], "counts": [7]})], "nor run lengths"),
        ([annotation(segmentation="x")], "nor run lengths"),
        ([annotation(iscrowd=1)], "every object is a crowd .*brush"),
        ([annotation(), annotation(category_id=9), annotation(category_id=9)], r"9: 2 segments"),
        ([annotation(image_id=5)], 'refer to an image that is not in "images"'),
        ([], r"no object with a mask to use \(images have no labels"),
    ],
)
def test_unusable_coco_annotations_are_reported(annotations: list[Any], message: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=message):
        open_dataset(write_coco(tmp_path, annotations=annotations))


def test_boxes_among_masks_and_images_without_labels_are_counted(tmp_path: Path):
    images = [{"id": id, "file_name": f"{id}.png", "height": HEIGHT, "width": WIDTH} for id in (0, 1)]
    annotations = [annotation(), annotation(id=2, segmentation=[])]
    dataset = open_dataset(write_coco(tmp_path, images=images, annotations=annotations))
    assert found(dataset, "box-without-mask").count == 1
    assert found(dataset, "image-without-labels").examples == ["1.png"]
    assert [record.image_id for record in dataset.records] == [0]


def test_the_stated_size_may_be_missing(tmp_path: Path):
    dataset = open_dataset(write_coco(tmp_path, images=[{"id": 0, "file_name": "one.png"}]))
    assert dataset.panoptic(dataset.records[0]).id_map.shape == (HEIGHT, WIDTH)


def test_a_mask_larger_than_its_image_is_reported(tmp_path: Path):
    mask = {"size": [HEIGHT + 1, WIDTH], "counts": [10, 6, (HEIGHT + 1) * WIDTH - 16]}
    dataset = open_dataset(write_coco(tmp_path, annotations=[annotation(segmentation=mask)]))
    with pytest.raises(DatasetError, match=r"a mask of one\.png has 8 × 7 pixels, the image has 8 × 6"):
        dataset.panoptic(dataset.records[0])


# YOLO


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0 0.5 0.5 0.2 0.2\n", r"no object with a mask to use \(objects have only a box"),
        ("0 0.5 0.5 0.2\n", r"labels/one\.txt: line 1"),
        ("0 0.1 0.1 0.2 nan 0.3 0.3\n", "not a class number and a polygon"),
        ("car 0.1 0.1 0.2 0.2 0.3 0.3\n", "not a class number and a polygon"),
        ("0 10 10 20 20 30 30\n", "polygons are in pixels, expected values from 0 to 1"),
        ("7 0 0 0 1 1 1\n7 0 0 0 1 1 1\n", "7: 2 segments"),
        ("", "there are no annotations"),
    ],
)
def test_unusable_yolo_labels_are_reported(lines: str, message: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=message):
        open_dataset(write_yolo(tmp_path, lines=lines))


def test_an_empty_label_file_is_an_image_without_objects(tmp_path: Path):
    write_yolo(tmp_path)
    for name in ("empty", "unlabeled"):
        write_image(tmp_path / "images" / f"{name}.png")
    (tmp_path / "labels" / "empty.txt").write_text("")
    dataset = open_dataset(tmp_path)
    assert [record.image for record in dataset.records] == ["images/empty.png", "images/one.png"]
    assert not dataset.panoptic(dataset.records[0]).segments
    assert found(dataset, "image-without-labels").examples == ["images/unlabeled.png"]


def test_polygons_belong_to_the_upright_image(tmp_path: Path):
    write_yolo(tmp_path)
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "images" / "one.png", exif=exif)
    dataset = open_dataset(tmp_path)
    assert dataset.panoptic(dataset.records[0]).id_map.shape == (HEIGHT, WIDTH)


def test_names_of_label_studio(tmp_path: Path):
    write_yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("road\ncar\nwheel\n")
    assert [(c.id, c.name) for c in open_dataset(tmp_path).categories] == [
        (0, "road"),
        (1, "car"),
        (2, "wheel"),
    ]


@pytest.mark.parametrize(("names", "message"), [("a: [", "is not valid YAML"), ("nc: 3", 'lacks "names"')])
def test_unusable_names_are_reported(names: str, message: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=message):
        open_dataset(write_yolo(tmp_path, names=names))


def test_labels_without_image_are_reported(tmp_path: Path):
    write_yolo(tmp_path)
    (tmp_path / "labels" / "other.txt").write_text(yolo_lines())
    with pytest.raises(DatasetError, match=r"label files have no image of that name.*labels/other\.txt"):
        open_dataset(tmp_path)


# Labelme


def shape(label: str, points: list[Any], **changes: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": "polygon"} | changes


def test_all_shapes_with_an_area_are_read(tmp_path: Path):
    mask = io.BytesIO()
    Image.fromarray(np.ones((2, 2), np.uint8) * 255).save(mask, format="PNG")
    shapes = [
        shape("box", [[7, 5], [4, 3]], shape_type="rectangle"),
        shape("coin", [[2, 2], [2, 3]], shape_type="circle"),
        shape("leaf", [[6, 0], [8, 2]], shape_type="mask", mask=base64.b64encode(mask.getvalue()).decode()),
        shape("tip", [[1, 1]], shape_type="point"),
        shape("edge", [[1, 1], [2, 2]], shape_type="linestrip"),
        shape("__ignore__", [[0, 0], [1, 0], [1, 1]]),
    ]
    dataset = open_dataset(write_labelme(tmp_path, shapes=shapes))
    (record,) = dataset.records
    assert [category.name for category in dataset.categories] == ["box", "coin", "leaf"]
    truth = dataset.panoptic(record)
    assert {segment.category_id: segment.area for segment in truth.segments} == {1: 6, 2: 4, 3: 4}
    np.testing.assert_array_equal(np.argwhere(truth.id_map == 3), [[0, 6], [0, 7], [1, 6], [1, 7]])
    issue = found(dataset, "shape-without-area")
    assert (issue.count, issue.examples) == (2, ["one.json: shape 4, point", "one.json: shape 5, linestrip"])


def test_shapes_of_a_group_are_one_object(tmp_path: Path):
    shapes = [
        shape("car", [[0, 0], [2, 0], [2, 2], [0, 2]], group_id=1),
        shape("car", [[4, 0], [6, 0], [6, 2], [4, 2]], group_id=1),
        shape("car", [[4, 4], [6, 4], [6, 6], [4, 6]], group_id=2),
    ]
    dataset = open_dataset(write_labelme(tmp_path, shapes=shapes))
    assert [segment.area for segment in dataset.panoptic(dataset.records[0]).segments] == [8, 4]


def test_labels_that_the_list_lacks_are_counted(tmp_path: Path):
    write_labelme(tmp_path)
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ncar\nroad\n")
    dataset = open_dataset(tmp_path)
    assert [category.name for category in dataset.categories] == ["car", "road"]
    issue = found(dataset, "label-unknown")
    assert (issue.severity, issue.examples) == ("warning", ["wheel: 1 segment"])


def test_labels_that_differ_in_spelling_are_one_category(tmp_path: Path):
    points = np.reshape(CAR, (4, 2)).tolist()
    dataset = open_dataset(
        write_labelme(tmp_path, shapes=[shape("Traffic_Light", points), shape("traffic light", points)])
    )
    assert [category.name for category in dataset.categories] == ["traffic light"]
    assert len(dataset.records[0].segments) == 2


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([shape("tip", [[1, 1]], shape_type="point")], "no labeled shape"),
        ([{"points": []}], "no labeled shape"),
        ([shape("car", [[0, 0], [2, "x"], [2, 2]])], "no labeled shape"),
        ("none", "no labeled shape"),
    ],
)
def test_unusable_shapes_are_reported(shapes: Any, message: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=message):
        open_dataset(write_labelme(tmp_path, shapes=shapes))


def test_other_json_files_are_counted(tmp_path: Path):
    write_labelme(tmp_path)
    (tmp_path / "zz.json").write_text("{}")
    write_image(tmp_path / "two.png")
    (tmp_path / "two.json").write_text(json.dumps(labelme_document(imagePath="two.png", imageHeight=None)))
    dataset = open_dataset(tmp_path)
    assert found(dataset, "not-labelme").examples == ["zz.json"]
    assert dataset.panoptic(dataset.records[1]).id_map.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_zip_file_with_a_top_folder_is_the_same_dataset(writer: str, tmp_path: Path):
    root = WRITERS[writer](tmp_path / "cars")
    files = {f"top/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    packed = open_dataset(put_zip(tmp_path / "cars.zip", files | {"__MACOSX/top/._one.json": b"junk"}))
    assert packed.fingerprint() == open_dataset(root).fingerprint()


@pytest.mark.parametrize("content", ["[]", "{}", "{"])
@pytest.mark.parametrize("write", [write_coco, write_labelme])
def test_other_json_files_do_not_hide_the_labels(write: Any, content: str, tmp_path: Path):
    write(tmp_path)
    if write is write_coco:
        (tmp_path / "_annotations.coco.json").rename(tmp_path / "result.json")
    if content != "{" or write is write_coco:
        (tmp_path / "aaa.json").write_text(content if write is write_coco else "{}")
    assert len(open_dataset(tmp_path)) == 1


def test_a_damaged_json_is_named(tmp_path: Path):
    (tmp_path / "labels.json").write_text("{")
    with pytest.raises(DatasetError, match=r"labels\.json is not valid JSON"):
        open_dataset(tmp_path)


def test_a_file_instead_of_its_folder_is_reported(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"data\.yaml: expected a folder or a zip file; give the folder"):
        open_dataset(write_yolo(tmp_path) / "data.yaml")


KEYS = (
    *("id", "image_id", "category_id", "file_name", "segmentation", "size", "counts", "iscrowd", "name"),
    *("label", "points", "shape_type", "group_id", "mask", "imagePath", "imageHeight", "supercategory"),
)
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 9)
    | st.floats()
    | st.sampled_from(["one.png", "mask", "../y", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)
entries = st.lists(st.dictionaries(st.sampled_from(KEYS), any_json, max_size=8) | any_json, max_size=3)


def read_everything(root: Path) -> None:
    """Open a folder and read all ground truth; only the documented error is allowed."""
    with contextlib.suppress(DatasetError):
        dataset = open_dataset(root)
        dataset.fingerprint()
        for record in dataset.records:
            dataset.panoptic(record)


@settings(max_examples=100, deadline=None)
@given(key=st.sampled_from(["images", "annotations", "categories"]), value=entries)
def test_any_coco_document_is_read_or_reported(key: str, value: list[Any]):
    with tempfile.TemporaryDirectory() as folder:
        read_everything(write_coco(Path(folder), **{key: value}))
        assert Path(folder, "one.png").is_file()


@settings(max_examples=100, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(["shapes", *KEYS[-4:]]), entries | any_json, max_size=3))
def test_any_labelme_document_is_read_or_reported(changes: dict[str, Any]):
    with tempfile.TemporaryDirectory() as folder:
        read_everything(write_labelme(Path(folder), **changes))
        assert Path(folder, "one.png").is_file()


@settings(max_examples=100, deadline=None)
@given(
    lines=st.text(alphabet="01 .-en\n9é\x00", max_size=40),
    names=st.text(alphabet="names:[] 0a,\n", max_size=20),
)
def test_any_yolo_folder_is_read_or_reported(lines: str, names: str):
    with tempfile.TemporaryDirectory() as folder:
        read_everything(write_yolo(Path(folder), lines=lines, names=names))
        assert Path(folder, "data.yaml").is_file()
