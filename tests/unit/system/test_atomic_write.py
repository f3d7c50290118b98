"""Which files may be replaced: decided in one place for every output."""

import io
from pathlib import Path

import pytest
from PIL import Image

from ovrcoat.errors import OutputError
from ovrcoat.formats.json_files import write_json
from ovrcoat.formats.panoptic_png import write_id_png
from ovrcoat.system.atomic_write import (
    JPEG_SIGNATURE,
    MARKDOWN_SIGNATURE,
    check_replaceable,
    new_part_path,
    remove_leftovers,
    write_atomically,
    write_output,
)


def jpeg(comment: bytes | None) -> bytes:
    buffer = io.BytesIO()
    options = {} if comment is None else {"comment": comment}
    Image.new("RGB", (8, 8)).save(buffer, format="JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        jpeg(JPEG_SIGNATURE),
        b'{"ovrcoat": "0.1.0", "pq": 1}',
        b'\n {\n  "format": "ovrcoat comparison 2"',
        b'{"info": {"description": "ovrcoat segments"',
        f"{MARKDOWN_SIGNATURE}\n\n# Evaluation".encode(),
        b'\x40\0\0\0\0\0\0\0{"__metadata__":{"ovrcoat":"{}"}}',
    ],
)
def test_files_of_this_package_are_replaced(tmp_path: Path, content: bytes):
    path = tmp_path / "a"
    path.write_bytes(content)
    write_output(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"my notes on ovrcoat",
        b"# ovrcoat\n\nwritten by ovrcoat users",
        jpeg(None),
        jpeg(b"by me"),
        b'{"title": "about", "ovrcoat": "0.1.0"}',
        b'{"info": {"description": "COCO 2017"}}',
        b"\x89PNG\r\n\x1a\n" + bytes(60),
        b"name,pq\novrcoat,1\n",
    ],
)
def test_other_files_are_not(tmp_path: Path, content: bytes):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(OutputError, match=r"a exists and was not written by ovrcoat\. Choose another place"):
        write_output(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == content
    write_output(path, lambda file: file.write(b"new"), overwrite=True)
    assert path.read_bytes() == b"new"


def test_our_writers_write_the_signatures(tmp_path: Path):
    import numpy as np

    write_json(tmp_path / "a.json", {"ovrcoat": "1"})
    write_json(tmp_path / "a.json", {"ovrcoat": "2"})
    write_atomically(tmp_path / "a.png", lambda file: write_id_png(file, np.zeros((2, 2), np.int32)))
    check_replaceable(tmp_path / "a.png")


def test_a_table_is_recognized_by_its_columns(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("trust,id,name\n0,1,cat\n")
    check_replaceable(path, first_line="trust,id,name")
    with pytest.raises(OutputError, match="was not written by ovrcoat"):
        check_replaceable(path, first_line="trust,id")


def test_a_folder_is_never_replaced(tmp_path: Path):
    with pytest.raises(OutputError, match=r"it is a folder"):
        check_replaceable(tmp_path, overwrite=True)


def test_leftovers_of_killed_processes_are_deleted(tmp_path: Path):
    kept = ["a.png", ".a.png.part", "b.part", ".0123.part", f".{'0a' * 16}.part.png"]
    for name in kept:
        (tmp_path / name).touch()
    parts = [new_part_path(tmp_path / "a.png", is_named=is_named) for is_named in (False, True)]
    other = new_part_path(tmp_path / "other.png", is_named=True)
    for path in (*parts, other):
        path.touch()
    remove_leftovers(tmp_path, name="other.png")
    assert [path.exists() for path in (*parts, other)] == [True, True, False]
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_leftovers(tmp_path / "missing")
