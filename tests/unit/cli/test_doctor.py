from pathlib import Path

import pytest
import torch

from ovrcoat.cli.doctor import _text_cache
from ovrcoat.segmentation.text_cache import FILE_NAME, TextCache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVRCOAT_CACHE", str(tmp_path))
    return tmp_path


def test_the_text_caches_size_and_place_are_told(folder: Path) -> None:
    TextCache(folder).write("key", {"cat": torch.zeros(8), "dog": torch.zeros(8)})
    issue = _text_cache()
    assert (issue.subject, issue.status) == (f"text cache {folder / FILE_NAME}", "ok")
    assert issue.detail.startswith("2 names, 0.")


def test_a_text_cache_that_is_not_there_yet_is_fine(folder: Path) -> None:
    assert (_text_cache().status, _text_cache().detail[:8]) == ("ok", "0 names,")
    assert list(folder.iterdir()) == []


def test_a_damaged_text_cache_is_told_but_no_failure(folder: Path) -> None:
    (folder / FILE_NAME).write_bytes(b"no database at all" * 100)
    issue = _text_cache()
    assert (issue.status, issue.needed) == ("broken", False)
    assert "was damaged" in issue.detail
    assert _text_cache().status == "ok"  # it was begun anew


def test_a_text_cache_that_cannot_be_written_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("in the way")
    monkeypatch.setenv("OVRCOAT_CACHE", str(folder / "file"))
    issue = _text_cache()
    assert (issue.status, issue.needed) == ("broken", False)
    assert issue.remedy == "Set OVRCOAT_CACHE to a writable folder, or to none"


def test_no_text_cache_is_told_too() -> None:
    assert _text_cache().detail.startswith("off")
