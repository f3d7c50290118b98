import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovrcoat.formats.panoptic_png import id_map_to_image
from ovrcoat.results.coco import file_stem, image_entry, panoptic_document
from ovrcoat.results.colors import category_colors

from .samples import CATEGORIES, ID_MAP, instance_result, panoptic_result, semantic_result


@given(st.integers(0, 2**24 - 1))
def test_the_png_holds_ids_as_coco_has_them(id: int):
    red, green, blue = id_map_to_image(np.array([[id]], dtype=np.int32)).getpixel((0, 0))
    assert red + 256 * green + 65536 * blue == id


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.jpg", "a"),
        ("folder/a.b.png", "a.b"),
        ("a", "a"),
        (".hidden", ".hidden"),
        (None, "image"),
        ("", "image"),
    ],
)
def test_output_names(name: str | None, stem: str):
    assert file_stem(name) == stem


def test_a_long_name_is_shortened():
    stems = {file_stem("ü" * 120 + ending + ".jpg") for ending in "abc"}
    assert len(stems) == 3
    assert all(len(f"{stem}-99.overlay.jpg".encode()) <= 255 for stem in stems)


def test_a_taken_name_is_numbered_whatever_its_case():
    assert file_stem("Cat.jpg", taken={"cat", "cat-2"}) == "Cat-3"


def test_images_are_described():
    assert image_entry("x/y.jpg", image_id=3, size=(10, 20)) == {
        "id": 3,
        "file_name": "y.jpg",
        "height": 10,
        "width": 20,
    }


def test_the_document_of_a_run():
    document = panoptic_document([panoptic_result("a/x.jpg"), panoptic_result("b/x.jpg")], CATEGORIES)
    assert [image["id"] for image in document["images"]] == [1, 2]
    assert [(a["image_id"], a["file_name"]) for a in document["annotations"]] == [
        (1, "x.png"),
        (2, "x-2.png"),
    ]
    assert document["annotations"][0]["segments_info"] == [s.to_coco() for s in panoptic_result().segments]
    cat, wall, _ = document["categories"]
    assert (cat["id"], cat["name"], cat["isthing"], cat["synonyms"]) == (7, "cat", 1, ["kitty"])
    assert cat["thing_from"] == "default"
    assert (wall["isthing"], wall["color"]) == (0, [10, 20, 30])
    colors = category_colors(CATEGORIES)  # those that overlays show
    assert [entry["color"] for entry in document["categories"]] == [list(colors[c.id]) for c in CATEGORIES]


def test_a_semantic_annotation_has_one_segment_per_category():
    annotation = semantic_result().to_coco(image_id=5)
    assert annotation["image_id"] == 5
    assert [entry["category_id"] for entry in annotation["segments_info"]] == [7, 9]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' decoder
def test_instances_carry_run_lengths_that_decode_to_their_masks():
    codec = pytest.importorskip("pycocotools.mask")
    result = instance_result()
    for entry, segment in zip(result.to_coco(image_id=2), result.segments, strict=True):
        assert (entry["image_id"], entry["category_id"], entry["score"]) == (
            2,
            segment.category_id,
            segment.score,
        )
        assert np.array_equal(codec.decode(entry["segmentation"]).astype(bool), result.mask(segment.id))
    assert result.mask(1).tolist() == (ID_MAP == 1).tolist()
