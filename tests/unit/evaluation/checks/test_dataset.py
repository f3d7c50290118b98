"""Every known issue of a dataset is found; small valid datasets, as folder and zip file, have none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset_trees import (
    BUILDERS,
    CITY,
    CITY_PHOTO,
    HEIGHT,
    MAPILLARY_JSON,
    WIDTH,
    build,
    build_semantic,
    halves,
    save,
    write_image,
)
from exported_labels import CAR, write_coco, write_labelme, write_yolo
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.checks.dataset import DatasetCheck, check_dataset
from ovrcoat.evaluation.checks.dataset_issues import DATASET_ISSUES


def check(kind: str, home: Path) -> DatasetCheck:
    if kind in ("own", "semantic"):
        return check_dataset(home)
    return check_dataset(kind, root=home.parent)


Edit = Callable[[Path], object]


def edit_json(path: str, edit: Callable[[Any], object]) -> Edit:
    def apply(home: Path) -> None:
        document = json.loads((home / path).read_text())
        edit(document)
        (home / path).write_text(json.dumps(document))

    return apply


def segments_info(document: Any) -> Any:
    return document["annotations"][0]["segments_info"]


def becomes_coco(**changes: Any) -> Edit:
    def apply(home: Path) -> None:
        shutil.rmtree(home)
        write_coco(home, **changes)

    return apply


def coco_annotation(id: int) -> dict[str, Any]:
    return {"id": id, "image_id": 0, "category_id": 2, "segmentation": [CAR], "iscrowd": 0}


def removes(path: str) -> Edit:
    return lambda home: shutil.rmtree(home / path) if (home / path).is_dir() else (home / path).unlink()


def moves(source: str, target: str) -> Edit:
    def apply(home: Path) -> None:
        (home / target).parent.mkdir(parents=True, exist_ok=True)
        (home / source).rename(home / target)

    return apply


def draws(path: str, values: Any, **options: Any) -> Edit:
    return lambda home: save(home / path, values, **options)


def turned(orientation: int, size: tuple[int, int]) -> Edit:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return lambda home: write_image(home / "images/a.png", size, exif=exif)


def train_ids(document: Any) -> None:
    for index, category in enumerate(document["categories"]):
        category["id"] = index
    segments_info(document)[0]["category_id"], segments_info(document)[1]["category_id"] = 0, 13


def group(document: Any) -> None:
    segments_info(document)[1]["id"] = 26


def many_names(home: Path) -> None:
    (home / "names.txt").write_text("0: cat\n1: wall\n300: sky\n")


def version_2(document: Any) -> None:
    document["categories"] = [{"id": n, "name": f"c{n}", "isthing": 0} for n in range(1, 125)]


def both_names(document: Any) -> None:
    document["categories"][1]["name"] = "Cat"


def ade_full(home: Path) -> None:
    (home.parent / "ade/ADE20K_2021_17_01").mkdir(parents=True)


ADE = "validation/ADE_val_00000001.png"
CASES: dict[str, tuple[str, Edit, str]] = {
    "dataset-unusable": ("own", lambda home: (home / "panoptic.json").write_text("{"), "not valid JSON"),
    "image-missing": ("own", removes("images/a.png"), "images/a.png"),
    "image-damaged": ("own", lambda home: (home / "images/a.png").write_bytes(b"x"), "images/a.png: "),
    "image-rotated": ("own", turned(6, (WIDTH, HEIGHT)), "orientation 6"),
    "labels-of-unrotated-image": ("own", turned(8, (HEIGHT, WIDTH)), "image 4 × 6, labels 6 × 4"),
    "size-differs": (
        "own",
        lambda home: write_image(home / "images/a.png", (8, 12)),
        "image 12 × 8, labels 6 × 4",
    ),
    "labels-missing": ("own", removes("panoptic/a.png"), "panoptic/a.png"),
    "labels-unusable": ("own", draws("panoptic/a.png", halves(1, 2)), "8-bit grayscale"),
    "areas-cost": (
        "own",
        edit_json("panoptic.json", lambda document: segments_info(document)[0].update(area=24)),
        "is 50.00",  # IoU of the cat is 12 / 24, no match; the wall's is 1
    ),
    "image-without-labels": ("own", lambda home: write_image(home / "images/b.png"), "images/b.png"),
    "labels-without-image": ("own", draws("panoptic/b.png", halves(1, 2)), "panoptic/b.png"),
    "image-unlabeled": ("semantic", draws("labels/a.png", halves(255, 255)), "labels/a.png"),
    "all-ignored": ("semantic", draws("labels/a.png", halves(255, 255)), "1 images"),
    "category-name-twice": ("own", edit_json("panoptic.json", both_names), "'cat': ids 1 and 2"),
    "isthing-guessed": (
        "own",
        edit_json("panoptic.json", lambda document: document["categories"][0].pop("isthing")),
        "1 'cat'",
    ),
    "stuff-by-name": ("own", becomes_coco(), "1 'road'"),
    "object-covered": (
        "own",
        becomes_coco(annotations=[coco_annotation(1), coco_annotation(2)]),
        "one.png: object 1",
    ),
    "label-in-no-preset": (
        "own",
        edit_json("panoptic.json", lambda document: document["categories"][0].update(name="flubber")),
        "flubber: 1 segment",
    ),
    "vocabulary-issue": (
        "own",
        edit_json("panoptic.json", lambda document: document["categories"][0].update(name="...")),
        "punctuation",
    ),
    "labels-of-8-bits": ("semantic", many_names, "labels/a.png: mode L"),
    "categories-differ": (
        "coco",
        edit_json("annotations/panoptic_val2017.json", lambda document: document["categories"].pop()),
        "200 rug",
    ),
    "image-in-other-split": (
        "coco",
        moves("val2017/000000000005.jpg", "train2017/000000000005.jpg"),
        "found train2017/",
    ),
    "coco-panoptic-inside": (
        "coco",
        moves("panoptic_val2017", "annotations/panoptic_val2017"),
        "annotations/",
    ),
    "ade20k-labels-shifted": ("ade20k", draws(f"annotations/{ADE}", halves(255, 0)), f"annotations/{ADE}"),
    "ade20k-label-unknown": ("ade20k", draws(f"annotations/{ADE}", halves(3, 151)), "151"),
    "ade20k-labels-not-shifted": (
        "ade20k",
        draws(f"annotations_detectron2/{ADE}", halves(0, 150)),
        "24 pixels",
    ),
    "ade20k-shifted-labels-missing": ("ade20k", removes("annotations_detectron2"), "annotations_detectron2"),
    "ade20k-instances-missing": ("ade20k", removes("annotations_instance"), "annotations_instance"),
    "ade20k-instance-png-missing": (
        "ade20k",
        moves(f"annotations_instance/{ADE}", "annotations_instance/validation/other.png"),
        ADE,
    ),
    "ade20k-instance-class": (
        "ade20k",
        draws(f"annotations_instance/{ADE}", np.stack([halves(0, 101)] * 3, axis=-1)),
        "101",
    ),
    "ade20k-full-extra-folder": ("ade20k", ade_full, "ADE20K_2021_17_01"),
    "cityscapes-train-ids": (
        "cityscapes",
        edit_json("gtFine/cityscapes_panoptic_val.json", train_ids),
        "categories 0 to 18",
    ),
    "cityscapes-city-missing": (
        "cityscapes",
        moves(CITY_PHOTO, "leftImg8bit/val/ulm/bonn_000000_000000_leftImg8bit.png"),
        "leftImg8bit/val/bonn",
    ),
    "cityscapes-label-unknown": ("cityscapes", draws(f"{CITY}_labelIds.png", halves(7, 34)), "34"),
    "cityscapes-train-labels-differ": (
        "cityscapes",
        draws(f"{CITY}_labelTrainIds.png", halves(0, 12)),
        "12 pixels",
    ),
    "cityscapes-instances-differ": (
        "cityscapes",
        draws(f"{CITY}_instanceIds.png", halves(8, 26000, np.uint16)),
        "12 pixels",
    ),
    "cityscapes-stuff-instance": (
        "cityscapes",
        draws(f"{CITY}_instanceIds.png", halves(7001, 26000, np.uint16)),
        "label 7",
    ),
    "cityscapes-group-not-crowd": (
        "cityscapes",
        edit_json("gtFine/cityscapes_panoptic_val.json", group),
        "segment 26",
    ),
    "mapillary-version": ("mapillary", edit_json(MAPILLARY_JSON, version_2), "124 categories"),
    "mapillary-labels-rgb": (
        "mapillary",
        draws("validation/labels/x.png", np.stack([halves(0, 1)] * 3, axis=-1)),
        "mode RGB",
    ),
    "mapillary-label-unknown": ("mapillary", draws("validation/labels/x.png", halves(0, 66)), "66"),
}


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_good_data_set_has_no_issues(kind: str, tmp_path: Path) -> None:
    found = check(kind, build(kind, tmp_path))
    assert [str(issue) for issue in found.issues] == []
    assert found.image_count == 1


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_zip_file_has_the_same_issues(kind: str, tmp_path: Path) -> None:
    home = build(kind, tmp_path / "tree")
    next(edit for where, edit, _ in CASES.values() if where == kind)(home)
    packed = shutil.make_archive(str(tmp_path / home.name), "zip", home.parent, home.name)
    is_own = kind in ("own", "semantic")
    in_zip = check_dataset(packed) if is_own else check_dataset(kind, root=packed)
    in_folder = check(kind, home)
    assert [(f.code, f.count) for f in in_zip.issues] == [(f.code, f.count) for f in in_folder.issues]


def test_every_issue_has_a_case() -> None:
    assert {*CASES, "label-not-in-vocabulary"} == set(DATASET_ISSUES)


def test_labels_that_the_vocabulary_lacks_are_counted(tmp_path: Path) -> None:
    found = {
        issue.code: issue for issue in check_dataset(write_coco(tmp_path), vocabulary="Cars; sky").issues
    }
    issue = found["label-not-in-vocabulary"]
    assert issue.severity == DATASET_ISSUES["label-not-in-vocabulary"][0]
    assert issue.examples == ["road: 1 segment", "wheel: 1 segment"]
    assert "label-in-no-preset" not in found


@pytest.mark.parametrize(
    ("write", "tasks"), [(write_coco, 3), (write_yolo, 3), (write_labelme, 3), (build_semantic, 1)]
)
def test_the_tasks_of_a_folder_are_stated(
    write: Callable[[Path], object], tasks: int, tmp_path: Path
) -> None:
    write(tmp_path)
    assert check_dataset(tmp_path).tasks == ("instance", "panoptic", "semantic")[-tasks:]


@pytest.mark.parametrize("write", [write_coco, write_yolo, write_labelme])
def test_good_labels_of_other_tools_have_only_notes(write: Callable[[Path], object], tmp_path: Path) -> None:
    write(tmp_path)
    assert {issue.code: issue.severity for issue in check_dataset(tmp_path).issues} == {
        "stuff-by-name": "note"
    }


@pytest.mark.parametrize(
    ("name", "code", "severity"),
    [
        ("wall-other-merged", "name-recognized", "note"),
        ("sky_area", "name-code", "warning"),
        ("class_1", "vocabulary-issue", "warning"),
    ],
)
def test_names_for_programs_are_found(name: str, code: str, severity: str, tmp_path: Path) -> None:
    home = build("own", tmp_path)
    edit_json("panoptic.json", lambda document: document["categories"][1].update(name=name))(home)
    found = {issue.code: issue for issue in check("own", home).issues}
    assert found[code].severity == severity


@pytest.mark.parametrize("code", CASES)
def test_issue_is_found(code: str, tmp_path: Path) -> None:
    kind, edit, example = CASES[code]
    home = build(kind, tmp_path)
    edit(home)
    found = {issue.code: issue for issue in check(kind, home).issues}
    assert code in found
    assert found[code].severity == DATASET_ISSUES[code][0]
    assert any(example in text for text in found[code].examples), found[code].examples


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("segment-id-too-large", {"id": 1 << 24}),
        ("segment-id-zero", {"id": 0}),
        ("truth-pixels-without-segment", {"id": 9}),
        ("truth-segment-without-pixels", {"id": 9}),
        ("truth-category-unknown", {"category_id": 9}),
        ("areas-differ", {"area": 13}),
        ("area-impossible", {"area": 3}),
        ("iscrowd-missing", {"iscrowd": None}),
        ("crowd-twice", {"iscrowd": 1, "category_id": 2}),
    ],
)
def test_panoptic_issues_are_found_in_datasets(code: str, values: dict[str, Any], tmp_path: Path) -> None:
    home = build("own", tmp_path)

    def edit(document: Any) -> None:
        segments_info(document)[0].update(values)
        segments_info(document)[1]["iscrowd"] = int(code == "crowd-twice")

    edit_json("panoptic.json", edit)(home)
    assert code in check("own", home).issues


def test_what_the_reader_refuses_is_an_error(tmp_path: Path) -> None:
    home = build("own", tmp_path)
    edit_json("panoptic.json", lambda document: document["images"][0].update(width=7))(home)
    (error,) = check("own", home).issues.with_severity("error")
    assert "6 × 4 pixels, but the JSON states 7 × 4" in error.examples[0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 30) | st.floats() | st.sampled_from(["a.png", "x", "../y"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "image_id",
                    "file_name",
                    "category_id",
                    "segments_info",
                    "area",
                    "iscrowd",
                    "isthing",
                    "name",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), json_values),
    kind=st.sampled_from(["own", "cityscapes", "mapillary", "coco", "ade20k"]),
)
def test_nothing_that_json_can_hold_raises(document: dict[str, Any], kind: str, tmp_path: Path) -> None:
    home = tmp_path / BUILDERS[kind][0]
    if not home.exists():
        build(kind, tmp_path)
    path = next(path for path in home.rglob("*panoptic*.json"))
    path.write_text(json.dumps(document))
    assert check(kind, home).issues.with_severity("error")


def test_issues_of_many_kinds_are_reported_at_once(tmp_path: Path) -> None:
    home = build("ade20k", tmp_path)
    for code in ("ade20k-label-unknown", "ade20k-instance-class", "ade20k-shifted-labels-missing"):
        CASES[code][1](home)
    (home / "images" / ADE).with_suffix(".jpg").unlink()
    codes = {issue.code for issue in check("ade20k", home).issues}
    assert {
        "ade20k-label-unknown",
        "ade20k-instance-class",
        "ade20k-shifted-labels-missing",
        "image-missing",
    } <= codes


def test_a_limit_spares_images_but_not_lists(tmp_path: Path) -> None:
    home = build("semantic", tmp_path)
    write_image(home / "images/b.png")
    save(home / "labels/b.png", halves(0, 77))
    write_image(home / "images/c.png")
    found = check_dataset(home, limit=1)
    assert found.image_count == 1
    assert [issue.code for issue in found.issues] == ["image-without-labels"]
    assert "labels-unusable" in check_dataset(home).issues


def test_a_folder_that_does_not_exist_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the folder or zip file does not exist"):
        check_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="the folder or zip file does not exist"):
        check_dataset("coco", root=tmp_path / "nowhere")
