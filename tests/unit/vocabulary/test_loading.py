"""Vocabulary files."""

import os
from pathlib import Path

import pytest

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.entries import Entry
from ovrcoat.vocabulary.loading import SIZE_LIMITS, VocabularyFile, read_file


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_text_has_one_category_per_line(tmp_path: Path):
    path = write(tmp_path, "names.txt", "# my names\ncat, kitty\n\nwall#stuff\r\n  sofa \n")
    assert read_file(path) == VocabularyFile(
        (Entry(("cat", "kitty")), Entry(("wall",), is_thing=False), Entry(("sofa",)))
    )


def test_the_files_of_the_published_protocol(tmp_path: Path):
    path = write(
        tmp_path, "ade20k.txt", "0:invalid_class_id\n1:wall,walls,brick wall\n3:sky, skies\n# x\n12:x:y"
    )
    assert read_file(path).categories == (
        Entry(("wall", "walls", "brick wall"), id=1),
        Entry(("sky", "skies"), id=3),
        Entry(("x:y",), id=12),
    )


def test_numbers_are_ids_only_if_every_line_has_one(tmp_path: Path):
    path = write(tmp_path, "names.txt", "1:cat\n16:9 screen, tv\nsofa")
    assert [entry.names[0] for entry in read_file(path).categories] == ["1:cat", "16:9 screen", "sofa"]


def test_a_byte_order_mark_is_ignored(tmp_path: Path):
    assert read_file(write(tmp_path, "names.txt", "\ufeffcat")).categories == (Entry(("cat",)),)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.json", '["cat, kitty", {"name": "wall", "isthing": false}]'),
        ("names.JSON", '{"categories": ["cat, kitty", "wall#stuff"]}'),
        ("names.yaml", "- cat, kitty\n- name: wall\n  isthing: false\n"),
        ("names.yml", "categories:\n  - name: cat\n    synonyms: [kitty]\n  - 'wall#stuff'\n"),
    ],
)
def test_json_and_yaml(tmp_path: Path, name: str, content: str):
    entries = (Entry(("cat", "kitty")), Entry(("wall",), is_thing=False))
    assert read_file(write(tmp_path, name, content)) == VocabularyFile(entries)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("names.py", "cat", r"ends in '\.py', expected one of \.txt, \.names, \.csv, .* \.json; rename"),
        ("names.csv", "foo,n\ncat,1\ndog,2", "the header of this table is foo, n, expected a column name, "),
        ("names.csv", "1,2\n3,4", "contains only numbers"),
        ("names.csv", "id,name\n1,cat\n2,", "row 3 of this table has no class name"),
        ("names", b"caf\xe9", "this file is not UTF-8 text"),
        ("names.json", "[", "this file is not valid JSON"),
        ("names.json", "", "this file is not valid JSON"),
        ("names.json", "[" * 100_000, "this file is not valid JSON"),
        ("names.yaml", "a: [", "this file is not valid YAML"),
        ("names.yaml", "!!python/object/apply:os.system [echo]", "this file is not valid YAML"),
        ("names.yaml", "- 2020-99-99", "this file is not valid YAML"),
        ("names.yaml", "", "Input should be a valid dictionary"),
        ("names.yaml", "- no", r"categories\.0\.object"),
        ("names.txt", b"caf\xe9", "this file is not UTF-8 text"),
        ("names.txt", "cat#stuf", "expected #thing or #stuff"),
        ("names.txt", "x" * (SIZE_LIMITS[".txt"].bytes + 1), "expected at most 1,048,576"),
    ],
)
def test_bad_files_are_rejected_by_name(tmp_path: Path, name: str, content: str | bytes, message: str):
    with pytest.raises(VocabularyError, match=rf"(?s){name}: .*{message}"):
        read_file(write(tmp_path, name, content))


def test_no_such_file(tmp_path: Path):
    with pytest.raises(VocabularyError, match=r"names\.txt: .*cannot be read \(No such file"):
        read_file(tmp_path / "names.txt")


def test_a_folder_is_not_a_file(tmp_path: Path):
    (tmp_path / "names.txt").mkdir()
    with pytest.raises(VocabularyError, match=r"names\.txt: this is a folder, expected a vocabulary file"):
        read_file(tmp_path / "names.txt")


def test_a_pipe_is_refused_before_it_is_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "names.txt")
    with pytest.raises(VocabularyError, match=r"names\.txt: .*this is a pipe"):
        read_file(tmp_path / "names.txt")


def test_an_impossible_path():
    with pytest.raises(VocabularyError, match="cannot be read"):
        read_file(Path("a\0b.txt"))


CAT_DOG = (Entry(("cat",)), Entry(("dog",)))
NUMBERED = (Entry(("cat",), id=0), Entry(("dog",), id=1))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("obj.names", "cat\ndog\n", CAT_DOG),  # darknet
        ("classes", "cat\r\ndog\r\n\r\n", CAT_DOG),
        ("classes.txt", "cat\ndog\n".encode("utf-16"), CAT_DOG),  # Windows editors
        ("classes.txt", "0 cat\n1 dog\n", NUMBERED),
        ("classes.txt", "0: cat\n1: dog\n", NUMBERED),
        ("classes.txt", "3 musketeers", (Entry(("3 musketeers",)),)),
        ("data.yaml", "path: ../x\ntrain: a\nnames:\n  0: cat\n  1: dog\n", NUMBERED),  # Ultralytics
        ("data.yaml", "nc: 2\nnames: ['cat', 'dog']\n", NUMBERED),  # Roboflow
        ("id2label.json", '{"0": "cat", "1": "dog"}', NUMBERED),  # Hugging Face
        ("config.json", '{"hidden_size": 3, "id2label": {"0": "cat", "1": "dog"}}', NUMBERED),
        (
            "ade20k_panoptic.json",  # OneFormer
            '{"0": {"isthing": 0, "name": "wall"}, "7": {"isthing": 1, "name": "bed "}}',
            (Entry(("wall",), is_thing=False, id=0), Entry(("bed",), is_thing=True, id=7)),
        ),
        (
            "panoptic_coco_categories.json",
            '[{"supercategory": "animal", "color": [220, 20, 60], "isthing": 1, "id": 17, "name": "cat"}]',
            (Entry(("cat",), is_thing=True, id=17, color=(220, 20, 60)),),
        ),
        (
            "labels.json",  # CVAT
            '[{"name": "cat", "color": "#ff8000", "attributes": []}]',
            (Entry(("cat",), color=(255, 128, 0)),),
        ),
        (
            "config_v1.2.json",  # Mapillary
            '{"labels": [{"color": [1, 2, 3], "instances": true, "name": "a--bird", "readable": "Bird"}]}',
            (Entry(("Bird",), is_thing=True, color=(1, 2, 3)),),
        ),
        ("meta.yaml", "classes: [cat, dog]\n", NUMBERED),  # MMDetection
        ("classes.csv", "id,name\n0,cat\n1,dog\n", NUMBERED),
        ("classes.csv", "cat\ndog\n", CAT_DOG),
        ("classes.csv", "0,cat\n1,dog\n", NUMBERED),
        ("classes.csv", '"cat, kitty"\n', (Entry(("cat", "kitty")),)),
        ("classes.csv", "name;r;g;b\ncat;1;2;3\n", (Entry(("cat",), color=(1, 2, 3)),)),
        ("classes.csv", "cat,1,2,3\n", (Entry(("cat",), color=(1, 2, 3)),)),
        ("classes.tsv", "Class ID\tClass\n0\tcat\n1\tdog\n", NUMBERED),
        (
            "objectInfo150.csv",  # ADE20K
            "Idx,Ratio,Train,Val,Stuff,Name\n1,0.1576,11664,1172,1,wall\n15,0.01,3,4,0,door;double door\n",
            (Entry(("wall",), is_thing=False, id=1), Entry(("door", "double door"), is_thing=True, id=15)),
        ),
    ],
)
def test_files_of_other_tools(tmp_path: Path, name: str, content: str | bytes, expected: tuple[Entry, ...]):
    assert read_file(write(tmp_path, name, content)) == VocabularyFile(expected)


@pytest.mark.parametrize(
    ("name", "content", "names", "skipped"),
    [
        ("labels.txt", "__ignore__\n_background_\ncat\n", ["cat"], ("__ignore__", "_background_")),  # labelme
        (
            "labelmap.txt",  # CVAT, Datumaro
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:61,245,61::\nsofa:::\n",
            ["cat", "sofa"],
            ("background",),
        ),
        (
            "_annotations.coco.json",  # Roboflow
            '{"categories": [{"id": 0, "name": "pets", "supercategory": "none"}, '
            '{"id": 1, "name": "cat", "supercategory": "pets"}], "annotations": [{"category_id": 1}]}',
            ["cat"],
            ("pets",),
        ),
        (
            "_annotations.coco.json",
            '{"categories": [{"id": 0, "name": "pets", "supercategory": "none"}, '
            '{"id": 1, "name": "cat", "supercategory": "pets"}], "annotations": [{"category_id": 0}]}',
            ["pets", "cat"],
            (),
        ),
    ],
)
def test_names_that_stand_for_no_class_are_left_out(
    tmp_path: Path, name: str, content: str, names: list[str], skipped: tuple[str, ...]
):
    content_read = read_file(write(tmp_path, name, content))
    assert [entry.names[0] for entry in content_read.categories] == names
    assert content_read.skipped == skipped


def test_colors_of_a_label_map(tmp_path: Path):
    path = write(tmp_path, "labelmap.txt", "cat:61,245,61::\nsofa:::\n")
    assert [entry.color for entry in read_file(path).categories] == [(61, 245, 61), None]


def test_a_misspelled_key_is_an_error(tmp_path: Path):
    path = write(tmp_path, "names.json", '[{"name": "cat", "synonym": ["kitty"]}]')
    with pytest.raises(VocabularyError, match=r"names\.json: .*synonym"):
        read_file(path)
