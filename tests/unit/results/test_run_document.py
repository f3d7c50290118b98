"""The document of a run that was killed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ovrcoat.results.run_document import RunDocument, recover

HEAD = {"ovrcoat": "1", "categories": [{"id": 1, "name": "cat"}]}


def entry(id: int, name: str) -> dict[str, Any]:
    return {"id": id, "file_name": f"{name}.png", "output": name, "width": 4, "height": 3}


def start(path: Path, images: dict[int, str], *, settings: dict[str, Any]) -> RunDocument:
    """A run that has written these images and goes on."""
    document = RunDocument(path, HEAD, settings=settings)
    for id, name in images.items():
        document.add(entry(id, name), [{"image_id": id, "segments_info": []}])
    return document


def kill(document: RunDocument) -> None:
    """Close the files without completing them, as the system does."""
    document._journal.close()
    os.close(document._part)


def outputs(path: Path) -> list[str]:
    document = json.loads(path.read_text())
    assert {image["id"] for image in document["images"]} == {a["image_id"] for a in document["annotations"]}
    assert document["interrupted"] is True
    return sorted(image["output"] for image in document["images"])


@pytest.mark.parametrize(("trust", "kept"), [(0.5, ["a", "b", "c"]), (1.0, ["b", "c"])])
def test_a_continued_run_that_is_killed_keeps_the_images_of_the_first(
    tmp_path: Path, trust: float, kept: list[str]
):
    """If it had other settings, it was no continuation; an image that was done again is there once."""
    path = tmp_path / "panoptic.json"
    start(path, {1: "a", 2: "b"}, settings={"trust": 0.5}).close(interrupted=True)
    kill(start(path, {3: "b", 4: "c"}, settings={"trust": trust}))
    assert recover(path)
    assert outputs(path) == kept
    assert not recover(path)
    assert [file.name for file in tmp_path.iterdir()] == ["panoptic.json"]


def test_a_journal_without_its_part_belongs_to_a_complete_document(tmp_path: Path):
    """The process was killed after the document was moved to its place."""
    path = tmp_path / "panoptic.json"
    journal = tmp_path / ".panoptic.json.journal"
    document = start(path, {1: "a"}, settings={})
    content = journal.read_bytes()
    document.close(interrupted=True)
    journal.write_bytes(content)
    assert not recover(path)
    assert outputs(path) == ["a"]
    assert not journal.exists()
