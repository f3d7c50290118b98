import json
from pathlib import Path

import pytest

from ovrcoat.errors import ConfigError, DatasetError, OutputError
from ovrcoat.formats import json_files
from ovrcoat.formats.json_files import (
    parse_json_object,
    read_json,
    read_json_list,
    read_json_object,
    write_json,
)
from ovrcoat.system.input_files import SizeLimit


def test_a_written_document_is_read_back(tmp_path: Path):
    path = tmp_path / "out.json"
    write_json(path, {"name": "Straße", "values": [1, 2.5, None]})
    assert read_json_object(path) == {"name": "Straße", "values": [1, 2.5, None]}
    assert "Straße" in path.read_text(encoding="utf-8")
    assert path.read_bytes().endswith(b"\n")
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "out.json", [float("nan")])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_reported_with_advice(tmp_path: Path):
    with pytest.raises(OutputError, match=r"cannot write .*out\.json: .*\. Choose"):
        write_json(tmp_path / "missing" / "out.json", {})


def test_a_byte_order_mark_is_accepted(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf[1, 2]")
    assert read_json(path) == read_json_list(path) == [1, 2]


def test_unreadable_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.json"
    with pytest.raises(
        DatasetError, match=r"cannot read .*x\.json \(No such file.*\), expected a JSON object; check"
    ):
        read_json_object(path)
    path.write_text("[1, 2")
    with pytest.raises(
        DatasetError, match=r"x\.json is not valid JSON \(.*\), expected results; .* truncated"
    ):
        read_json_list(path, expected="results")
    path.write_text("[" * 100_000)
    with pytest.raises(DatasetError, match=r"x\.json is not valid JSON"):
        read_json(path)
    path.write_text("[1, 2]")
    with pytest.raises(
        DatasetError, match=r"x\.json holds a JSON list, expected a JSON object; check the path"
    ):
        read_json_object(path)
    path.write_text("{}")
    with pytest.raises(
        DatasetError, match=r"x\.json holds a JSON dict, expected a JSON list; check the path"
    ):
        read_json_list(path)
    monkeypatch.setattr(json_files, "JSON", SizeLimit(1, "NO_VARIABLE", unit=1))
    with pytest.raises(
        DatasetError, match=r"2 bytes, expected at most 1; .*, expected a JSON object; check the path"
    ):
        read_json_object(path)
    assert read_json_object(path, limit=SizeLimit(2, "NO_VARIABLE", unit=1)) == {}


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe", b"[" * 100_000])
def test_invalid_content_is_reported_with_its_location_and_the_given_class(content: bytes):
    with pytest.raises(ConfigError, match=r"^a\.zip → b\.json is not valid JSON .* expected an index"):
        parse_json_object(content, location="a.zip → b.json", expected="an index", error_class=ConfigError)


def test_another_type_is_reported():
    with pytest.raises(DatasetError, match=r"^b\.json holds a JSON int, expected a JSON object"):
        parse_json_object(json.dumps(3).encode(), location="b.json")
