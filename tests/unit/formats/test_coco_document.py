import json
from pathlib import Path

import pytest

from ovrcoat.errors import OutputError
from ovrcoat.formats.coco_document import CocoDocumentWriter


def test_a_document_appears_when_it_is_finished(tmp_path: Path):
    path = tmp_path / "a.json"
    document = CocoDocumentWriter(path, head={"categories": [{"id": 1, "name": "Straße"}]})
    document.append({"n": 1})
    document.append({"n": 2})
    assert document.is_open
    assert not path.exists()
    document.finish([{"id": "a"}])
    assert not document.is_open
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "categories": [{"id": 1, "name": "Straße"}],
        "annotations": [{"n": 1}, {"n": 2}],
        "images": [{"id": "a"}],
    }
    document.discard()
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_document_is_valid_json(tmp_path: Path):
    document = CocoDocumentWriter(tmp_path / "a.json", head={"info": {}})
    document.finish([])
    assert json.loads((tmp_path / "a.json").read_text()) == {"info": {}, "annotations": [], "images": []}


def test_a_discarded_document_leaves_no_file(tmp_path: Path):
    document = CocoDocumentWriter(tmp_path / "a.json", head={"info": {}})
    document.append({})
    document.discard()
    assert not document.is_open
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_file_and_end_with_advice(tmp_path: Path):
    with pytest.raises(OutputError, match=r"cannot write .*a\.json: No such file or directory\. Do that\.$"):
        CocoDocumentWriter(tmp_path / "missing" / "a.json", head={"info": {}}, advice="Do that.")
    document = CocoDocumentWriter(tmp_path / "a.json", head={"info": {}})
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*a\.json: Is a directory"):
        document.finish([])
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
