from typing import Any

import pytest

from dataset_samples import SEGMENTS, document
from ovrcoat.errors import DatasetError
from ovrcoat.formats.annotations import AREA_NOT_GIVEN
from ovrcoat.formats.panoptic_json import (
    check_categories,
    check_unique_ids,
    read_categories,
    read_document,
    read_published,
)
from ovrcoat.issues import IssueList
from ovrcoat.vocabulary import Category, Vocabulary


def _path(image_id: object, file_name: str) -> str:
    return file_name


def read(data: dict[str, Any]) -> Any:
    return read_document(
        data,
        location="p.json",
        category_ids=(10, 20),
        image_path=lambda _, name: f"images/{name}",
        labels_path=lambda _, name: f"panoptic/{name}",
    )


def segment(**changes: Any) -> dict[str, Any]:
    """A document whose only segment differs from a good one."""
    changed = {key: value for key, value in (SEGMENTS[0] | changes).items() if value is not None}
    return document(annotations=[{"image_id": 9, "file_name": "one.png", "segments_info": [changed]}])


def test_a_document_becomes_records():
    found = read(document())
    (record,) = found.records
    assert (record.image_id, record.image, record.labels) == (9, "images/one.jpg", "panoptic/one.png")
    assert [(one.id, one.category_id, one.area, one.is_crowd) for one in record.segments] == [
        (5, 10, 4, False),
        (300, 20, 2, False),
        (70_001, 10, 1, True),
    ]
    assert found.sizes == {9: (2, 4)}


def test_a_segment_without_iscrowd_is_no_crowd():
    assert read(segment(iscrowd=None)).records[0].segments[0].is_crowd is False


def test_records_come_in_the_order_of_the_annotations():
    images = [{"id": name, "file_name": f"{name}.jpg"} for name in "abc"]
    annotations = [
        {"image_id": name, "file_name": f"{name}.png", "segments_info": SEGMENTS[:1]} for name in "cab"
    ]
    found = read(document(images=images, annotations=annotations))
    assert [record.image_id for record in found.records] == ["c", "a", "b"]
    assert found.sizes == {}


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe", b"[" * 100_000])
def test_no_json_is_reported(content: bytes):
    with pytest.raises(DatasetError, match=r"p\.json is not valid JSON .* expected COCO's panoptic format"):
        read_published(content, location="p.json", categories=(), image_path=_path, labels_path=_path)


def test_another_value_is_reported():
    with pytest.raises(DatasetError, match=r"p\.json holds a JSON list, expected COCO's"):
        read_published(b"[]", location="p.json", categories=(), image_path=_path, labels_path=_path)


ANNOTATION = document()["annotations"][0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (document(annotations=None), '"annotations" is missing or not a list'),
        (document(images=None), '"images" is missing or not a list'),
        (document(annotations=[]), "there is no usable annotation"),
        (document(annotations=[7, ANNOTATION]), '"annotations" holds values that are not objects'),
        (document(images=[{"id": 9}]), 'images lack "id" or a plain "file_name"'),
        (document(images=[{"id": 9, "file_name": "/etc/passwd"}]), 'a plain "file_name"'),
        (document(images=[{"id": True, "file_name": "a"}]), 'images lack "id"'),
        (document(images=document()["images"] * 2), r"images share an id \(1 ×: 9\)"),
        (document(annotations=[ANNOTATION | {"image_id": "9"}]), r'an image that is not in "images" .*\'9\''),
        (document(annotations=[ANNOTATION | {"image_id": [9]}]), r'an image that is not in "images" .*\[9\]'),
        (document(annotations=[ANNOTATION | {"file_name": "../a.png"}]), '"file_name" is missing or leads'),
        (document(annotations=[ANNOTATION] * 2), "images have several annotations"),
        (
            document(annotations=[ANNOTATION | {"segments_info": 3}]),
            '"segments_info" is missing or not a list',
        ),
        (segment(id=0), 'a segment\'s "id" is not a number from 1'),
        (segment(id=2**24), 'a segment\'s "id" is not a number from 1'),
        (segment(id="5"), 'a segment\'s "id" is not a number from 1'),
        (segment(category_id=77), r"a category that is not in the list of categories .*: 77\)"),
        (segment(category_id="10"), r"a category that is not in the list of categories .*: '10'\)"),
        (segment(category_id=[10]), "a category that is not in the list of categories"),
        (segment(iscrowd="no"), '"iscrowd" is neither 0 nor 1'),
        (segment(iscrowd=[]), '"iscrowd" is neither 0 nor 1'),
        (
            document(annotations=[ANNOTATION | {"segments_info": [SEGMENTS[0]] * 2}]),
            "segments of one image share an id",
        ),
    ],
)
def test_faults_are_reported_with_the_form_that_was_expected(data: dict[str, Any], message: str):
    with pytest.raises(DatasetError, match=message) as caught:
        read(data)
    assert str(caught.value).startswith("p.json cannot be used:")
    assert "Expected COCO's panoptic format" in str(caught.value)


def test_all_faults_are_reported_at_once_and_counted():
    bad = [ANNOTATION | {"segments_info": [SEGMENTS[0] | {"id": 0}, SEGMENTS[1] | {"category_id": 3}]}]
    images = document()["images"]
    others = [{"image_id": number, "file_name": "x.png", "segments_info": []} for number in range(7)]
    with pytest.raises(DatasetError) as caught:
        read(document(images=images, annotations=bad + others))
    assert "(7 ×: image 0; image 1; image 2; image 3; image 4 …)" in str(caught.value)
    assert "image 9, segment 300: 3" in str(caught.value)


def test_own_categories_have_synonyms_and_kinds():
    cat, sky = read_categories(document(), location="p.json")
    assert (cat.names, cat.is_thing, cat.id) == (("cat", "kitty"), True, 10)
    assert (sky.names, sky.is_thing, sky.id) == (("sky",), False, 20)


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        ([{"name": "cat"}], 'every category needs an "id", which'),
        ([{"name": "cat", "id": 1}, {"name": "dog"}], 'every category needs an "id", which'),
        ([], '"categories" is empty'),
        ([{"name": "cat", "id": 1}, {"name": "dog", "id": 1}], "several categories have the id 1"),
        ([{"name": "cat", "id": "1"}], r"p\.json: .*id"),
        ([{"name": " , ", "id": 1}], "which is blank"),
        (None, r"p\.json: categories"),
    ],
)
def test_invalid_categories_are_reported(categories: Any, message: str):
    with pytest.raises(DatasetError, match=message):
        read_categories({"categories": categories}, location="p.json")


def test_categories_that_share_an_id_are_reported():
    with pytest.raises(
        DatasetError, match=r"a: several categories have the id 3; give each category its own id"
    ):
        check_unique_ids([Category(("a",), True, 3), Category(("b",), True, 3)], location="a")


def test_official_names_are_those_of_the_preset():
    names = ("sky-other-merged", "sports ball", "Wall-Brick")
    categories = [{"id": id, "name": name, "isthing": 0} for id, name in enumerate(names, start=7)]
    issues = IssueList()
    sky, ball, wall = read_categories({"categories": categories}, location="p.json", issues=issues)
    assert (sky.id, sky.names, sky.color) == (7, ("sky", "clouds"), (70, 130, 180))
    assert wall.names == ("brick wall",)
    assert not ball.is_thing  # as written
    assert [issue.code for issue in issues] == ["name-recognized"]


EXPECTED = Vocabulary.parse("cat, kitty#thing; sky#stuff; road#stuff").categories  # ids 1, 2, 3
GOOD = [
    {"id": 1, "name": "Cat", "isthing": 1},
    {"id": 2, "name": "sky-other-merged", "isthing": 0},
    {"id": 3, "name": "road", "isthing": 0},
]


def test_the_release_may_name_a_category_otherwise():
    assert check_categories({"categories": GOOD}, EXPECTED, location="p.json") is None


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (GOOD[:2], r"categories are missing \(1 ×: 3 road\)"),
        ([*GOOD, {"id": 4, "name": "sea"}], r"categories are unknown \(1 ×: 4 sea\)"),
        ([GOOD[0] | {"isthing": 0}, *GOOD[1:]], r"thing and stuff differ \(1 ×: 1 [Cc]at\)"),
        (
            [GOOD[0], GOOD[1] | {"name": "road"}, GOOD[2] | {"name": "sky"}],
            r"names belong to other ids \(2 ×: road has id 2, expected 3; sky has id 3, expected 2\)",
        ),
    ],
)
def test_another_list_of_categories_is_reported(categories: Any, message: str):
    with pytest.raises(DatasetError, match=message) as caught:
        check_categories({"categories": categories}, EXPECTED, location="p.json")
    assert str(caught.value).startswith("p.json: the categories are not those of the dataset")


@pytest.mark.parametrize("preset", ["coco", "ade20k", "cityscapes", "mapillary"])
def test_no_preset_contradicts_itself(preset: str):
    categories = Vocabulary.named(preset).categories
    listed = [{"id": one.id, "name": one.name, "isthing": int(one.is_thing)} for one in categories]
    assert check_categories({"categories": listed}, categories, location=preset) is None


def _floats(value: Any) -> Any:
    """A JSON value with floats instead of integers, as some converters write it."""
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return float(value) if type(value) is int else value


def test_integral_floats_are_integers():
    floats = _floats(document())
    assert read(floats) == read(document())
    assert all(type(segment.area) is int for segment in read(floats).records[0].segments)
    assert read_categories(floats, location="p.json") == read_categories(document(), location="p.json")


@pytest.mark.parametrize("area", [None, -1, 3.5, float("nan"), "4"])
def test_a_segment_without_usable_area_is_counted_later(area: Any):
    found = read(segment(area=area))
    assert found.records[0].segments[0].area == AREA_NOT_GIVEN
    assert [(issue.code, issue.severity) for issue in found.issues] == [("area", "warning")]


def test_images_without_annotation_are_reported():
    images = [*document()["images"], {"id": 10, "file_name": "two.jpg"}]
    (issue,) = read(document(images=images)).issues
    assert (issue.code, issue.severity, issue.examples) == ("image-without-labels", "note", ["two.jpg"])


def test_the_name_of_the_image_stands_for_the_png():
    annotation = document()["annotations"][0] | {"file_name": "one.JPG"}
    assert read(document(annotations=[annotation])).records[0].labels == "panoptic/one.png"
