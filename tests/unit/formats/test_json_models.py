"""Models pass through JSON, whatever characters their texts hold."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from ovrcoat.formats.json_models import decode_model, encode_model


class Entry(BaseModel):
    name: int | str
    numbers: dict[int, tuple[float, ...]] = {}


@pytest.mark.parametrize("name", ["a.jpg", "ü", os.fsdecode(b"caf\xe9.jpg"), 3])
def test_a_model_survives(name: object) -> None:
    entry = Entry(name=name, numbers={1: (0.5, 1e-9)})
    content = encode_model(entry, exclude_defaults=True)
    assert decode_model(Entry, content) == entry
    assert json.loads(content)["name"] == name
    assert b"\n" not in content


@given(st.text(st.characters(codec=None)))
def test_any_text(name: str) -> None:
    entry = Entry(name=name)
    assert decode_model(Entry, encode_model(entry)) == entry


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"name": []}', b'{"name": ["\\udce9"]}', b'{"name": "\\udce9']
)
def test_what_does_not_fit(content: bytes) -> None:
    with pytest.raises(ValidationError):
        decode_model(Entry, content)
