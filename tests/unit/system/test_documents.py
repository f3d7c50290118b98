import json

import pytest

from ovrcoat.system.documents import DocumentError, parse_json, parse_yaml


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True, "é"]}, [], "x", 10**400, -0.0, "\udce9"])
def test_json_has_the_values_of_the_standard_library(value):
    text = json.dumps(value)
    assert (
        parse_json(text) == parse_json(text.encode()) == parse_json(b"\xef\xbb\xbf" + text.encode()) == value
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a" 1}', r"Expecting ':' delimiter: line 1 column 6"),
        (b"[1,\n]", "line 2 column 1"),
        (b"\xff", "invalid start byte"),
        (b"", "Expecting value: line 1 column 1"),
        (b"[" * 300 + b"]" * 300, "nested more than 200 levels deep"),
        (b"[" * 100_000, "nested more than 200 levels deep"),
        (b"[" * 300 + b'"\\udce9"' + b"]" * 300, "nested more than 200 levels deep"),
        (b"9" * 5_000, "Exceeds the limit"),
        (b"[" + b"[]," * 20_000_000 + b"0]", r"40,000,001 values would take about .* MiB of memory"),
    ],
)
def test_json_that_is_refused(content: bytes, message: str):
    with pytest.raises(DocumentError, match=message):
        parse_json(content)


def test_yaml():
    text = "a: &x [1, 2.5, 0x10, ~, 'é', 2020-01-01]\nb: *x\nc: {<<: {d: 1}}\n"
    data = parse_yaml(text)
    assert data["a"] == data["b"]
    assert data["a"][:5] == [1, 2.5, 16, None, "é"]
    assert data["c"] == {"d": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  b: 2020-99-99", "line 2, column 6: the value '2020-99-99' is not valid"),
        ("a: 0x_", "line 1, column 4: the value '0x_' is not valid"),
        (f"a: {'9' * 5_000}", r"line 1, column 4: the value '9{40}' is not valid"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed"),
        ("a: &x [*x]", "line 1, column 8: an alias contains itself"),
        ("a: !!python/name:os.system x", "line 1, column 4: could not determine a constructor"),
        ("[" * 60 + "]" * 60, "line 1, column 51: nested more than 50 levels deep"),
        ("&a [" + "x," * 999 + "]\n", None),
        ("- &a [" + "x," * 999 + "]\n" + "- *a\n" * 300, "more than 200,000 values, with aliases expanded"),
        ("a\x00", "control characters are not allowed"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_yaml_that_is_refused(text: str, message: str | None):
    if message is None:
        assert parse_yaml(text)
        return
    with pytest.raises(DocumentError, match=message) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
