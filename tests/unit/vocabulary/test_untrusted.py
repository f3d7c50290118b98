"""Vocabularies of strangers."""

import os
from pathlib import Path

import pytest

from ovrcoat.errors import VocabularyError
from ovrcoat.vocabulary import Vocabulary


def test_presets_text_and_lists_are_read():
    assert Vocabulary.from_untrusted("coco") == Vocabulary.named("coco")
    assert Vocabulary.from_untrusted("cat, kitty; wall#stuff") == Vocabulary.parse("cat, kitty; wall#stuff")
    assert Vocabulary.from_untrusted(["cat", "wall#stuff"]) == Vocabulary.of("cat", "wall#stuff")
    items = [{"name": "cat", "synonyms": ["kitty"]}, "wall#stuff"]
    assert Vocabulary.from_untrusted(items) == Vocabulary.parse("cat, kitty; wall#stuff")


def test_no_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "names.txt"
    path.write_text("dog\n")
    monkeypatch.chdir(tmp_path)
    for text in (str(path), "names.txt", os.path.relpath(path)):
        for source in (text, [text]):
            names = [
                name for category in Vocabulary.from_untrusted(source).categories for name in category.names
            ]
            assert "dog" not in names


@pytest.mark.parametrize("source", [["a; b"], [1], [{"name": "a", "path": "b"}], [["a"]]])
def test_malformed_lists(source: list[object]):
    with pytest.raises(VocabularyError):
        Vocabulary.from_untrusted(source)
