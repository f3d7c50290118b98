import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from ovrcoat.data.label_images import decode_ids
from ovrcoat.data.preparation import DocumentWriter, category_entries, segment_entry, write_id_map
from ovrcoat.errors import OutputError

IDS = np.array([[1, 2], [70_000, 0]], dtype=np.int32)


def test_a_document_appears_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "new" / "a.json"
    with DocumentWriter(path, categories=[{"id": 1}]) as writer:
        writer.add({"id": "a"}, [{"n": 1}, {"n": 2}])
        writer.add({"id": "b"}, [])
        assert not path.exists()
    assert json.loads(path.read_text()) == {
        "categories": [{"id": 1}],
        "annotations": [{"n": 1}, {"n": 2}],
        "images": [{"id": "a"}, {"id": "b"}],
    }
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_document_leaves_nothing(tmp_path: Path):
    def interrupted() -> None:
        with DocumentWriter(tmp_path / "a.json", categories=[]) as writer:
            writer.add({}, [{}])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*a\.json: .* created next to the release"):
        DocumentWriter(tmp_path / "file" / "a.json", categories=[])
    with pytest.raises(OutputError, match=r"cannot write .*a\.png: "):
        write_id_map(tmp_path / "file" / "a.png", IDS, overwrite=False)


@given(arrays.arrays(np.int32, (2, 3), elements=st.integers(0, 2**24 - 1)))
def test_ids_survive(tmp_path_factory: pytest.TempPathFactory, id_map: np.ndarray):
    path = tmp_path_factory.mktemp("ids") / "a.png"
    write_id_map(path, id_map, overwrite=False)
    np.testing.assert_array_equal(decode_ids(path.read_bytes(), location=""), id_map)


def test_a_finished_png_is_kept_and_a_damaged_one_made_again(tmp_path: Path):
    path = tmp_path / "a.png"
    write_id_map(path, IDS, overwrite=False)
    before = path.stat().st_mtime_ns
    write_id_map(path, IDS, overwrite=False)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(path.read_bytes()[:40])
    write_id_map(path, IDS, overwrite=False)
    np.testing.assert_array_equal(decode_ids(path.read_bytes(), location=""), IDS)


def test_a_png_with_other_segments_is_replaced_only_if_allowed(tmp_path: Path):
    path = tmp_path / "a.png"
    write_id_map(path, IDS, overwrite=False)
    with pytest.raises(OutputError, match=r"a\.png exists and holds other segments"):
        write_id_map(path, IDS + 1, overwrite=False)
    write_id_map(path, IDS + 1, overwrite=True)
    with Image.open(path) as picture:
        assert picture.getpixel((0, 0)) == (2, 0, 0)


def test_entries():
    assert segment_entry(5, 7, IDS > 1, is_crowd=True) == {
        "id": 5,
        "category_id": 7,
        "area": 2,
        "bbox": [0, 0, 2, 2],
        "iscrowd": 1,
    }
    road = category_entries("cityscapes")[0]
    assert (road["id"], road["name"], road["isthing"]) == (7, "road", 0)
