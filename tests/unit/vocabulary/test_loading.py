"""Vocabulary files."""

from pathlib import Path

import pytest

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary.entries import Entry
from ovrcoat.vocabulary.loading import SIZE_LIMITS, read_file


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_text_has_one_category_per_line(tmp_path: Path):
    path = write(tmp_path, "names.txt", "# my names\ncat, kitty\n\nwall#stuff\r\n  sofa \n")
    assert read_file(path) == (
        (Entry(("cat", "kitty")), Entry(("wall",), is_thing=False), Entry(("sofa",))),
        (),
    )


def test_the_files_of_the_published_protocol(tmp_path: Path):
    path = write(
        tmp_path, "ade20k.txt", "0:invalid_class_id\n1:wall,walls,brick wall\n3:sky, skies\n# x\n12:x:y"
    )
    assert read_file(path)[0] == (
        Entry(("wall", "walls", "brick wall"), id=1),
        Entry(("sky", "skies"), id=3),
        Entry(("x:y",), id=12),
    )


def test_numbers_are_ids_only_if_every_line_has_one(tmp_path: Path):
    path = write(tmp_path, "names.txt", "1:cat\n16:9 screen, tv\nsofa")
    assert [entry.names[0] for entry in read_file(path)[0]] == ["1:cat", "16:9 screen", "sofa"]


def test_a_byte_order_mark_is_ignored(tmp_path: Path):
    assert read_file(write(tmp_path, "names.txt", "\ufeffcat"))[0] == (Entry(("cat",)),)


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
    assert read_file(write(tmp_path, name, content)) == (entries, ())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("names.csv", "cat", r"ends in '\.csv', expected one of \.txt, \.yaml, \.yml, \.json;"),
        ("names", "cat", "ends in 'nothing', expected"),
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
        ("names.txt", "x" * (SIZE_LIMITS[".txt"] + 1), "larger than 1 MiB"),
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
    with pytest.raises(VocabularyError, match="cannot be read"):
        read_file(tmp_path / "names.txt")


def test_an_impossible_path():
    with pytest.raises(VocabularyError, match="cannot be read"):
        read_file(Path("a\0b.txt"))
