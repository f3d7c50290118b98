import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from ovrcoat.errors import OutputError
from ovrcoat.results import PanopticResult
from ovrcoat.results.coco import panoptic_document
from ovrcoat.results.writers import RunWriter
from ovrcoat.system.atomic_write import write_atomically

from .samples import CATEGORIES, ID_MAP, SEGMENTS, instance_result, panoptic_result, semantic_result


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_of_two_images(tmp_path: Path):
    folder = tmp_path / "deep" / "out"
    with RunWriter(folder, task="panoptic", categories=CATEGORIES) as writer:
        written = writer.add(panoptic_result("a/x.jpg"))
        writer.add(panoptic_result("b/x.jpg", image=None))
    assert written == (folder / "x.png", folder / "x.overlay.jpg")
    assert files(folder) == ["panoptic.json", "x-2.png", "x.overlay.jpg", "x.png"]
    with Image.open(folder / "x.png") as picture:
        pixels = np.asarray(picture).astype(np.int64)
    assert (pixels @ [1, 256, 65536]).tolist() == ID_MAP.tolist()
    with Image.open(folder / "x.overlay.jpg") as overlay:
        assert overlay.format == "JPEG"

    document = json.loads(writer.document_path.read_text(encoding="utf-8"))
    for image in document["images"]:
        del image["output"]
    assert document == panoptic_document([panoptic_result("a/x.jpg"), panoptic_result("b/x.jpg")], CATEGORIES)


def test_a_strip_that_is_too_long_for_jpeg_is_shrunk(tmp_path: Path):
    shape = (1, 70_000)
    strip = PanopticResult(
        np.ones(shape, dtype=np.int32),
        SEGMENTS[:1],
        CATEGORIES,
        np.zeros((*shape, 3), dtype=np.uint8),
        "s.png",
    )
    strip.save(tmp_path)
    with Image.open(tmp_path / "s.overlay.jpg") as overlay, Image.open(tmp_path / "s.png") as ids:
        assert (overlay.width, ids.width) == (65_500, 70_000)


def test_a_run_without_images_leaves_a_valid_document(tmp_path: Path):
    with RunWriter(tmp_path, task="panoptic", categories=CATEGORIES) as writer:
        pass
    document = json.loads(writer.document_path.read_text())
    assert document["images"] == document["annotations"] == []


def test_the_other_tasks(tmp_path: Path):
    pytest.importorskip("pycocotools")
    with RunWriter(tmp_path, task="semantic", categories=CATEGORIES) as writer:
        writer.add(semantic_result())
    with RunWriter(tmp_path, task="instance", categories=CATEGORIES) as writer:
        writer.add(instance_result())
    assert files(tmp_path) == ["instances.json", "room.overlay.jpg", "room.png", "semantic.json"]
    instances = json.loads((tmp_path / "instances.json").read_text())
    assert [entry["id"] for entry in instances["annotations"]] == [1, 2, 3]


def test_an_interrupted_run_is_complete_so_far(tmp_path: Path):
    def interrupted() -> None:
        with RunWriter(tmp_path, task="panoptic", categories=CATEGORIES) as writer:
            writer.add(panoptic_result("one.jpg"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    document = json.loads((tmp_path / "panoptic.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["one.jpg"]
    assert not [name for name in files(tmp_path) if name.endswith(".part")]


def many(count: int) -> Iterator[PanopticResult]:
    return (panoptic_result(f"{number}.jpg") for number in range(count))


def test_results_are_written_behind_in_order(tmp_path: Path):
    told: list[tuple[str | None, tuple[Path, ...]]] = []

    def tell(result: PanopticResult, written: tuple[Path, ...]) -> None:
        assert all(path.is_file() for path in written)
        told.append((result.name, written))

    with RunWriter(tmp_path, task="panoptic", categories=CATEGORIES) as writer:
        writer.add_all(many(12), on_written=tell)
    assert told == [
        (f"{number}.jpg", (tmp_path / f"{number}.png", tmp_path / f"{number}.overlay.jpg"))
        for number in range(12)
    ]
    document = json.loads(writer.document_path.read_text())
    assert [image["file_name"] for image in document["images"]] == [f"{number}.jpg" for number in range(12)]
    assert [entry["image_id"] for entry in document["annotations"]] == list(range(1, 13))


def test_one_by_one_and_behind_write_the_same(tmp_path: Path):
    with RunWriter(tmp_path / "one", task="panoptic", categories=CATEGORIES) as writer:
        for result in many(5):
            writer.add(result)
    with RunWriter(tmp_path / "all", task="panoptic", categories=CATEGORIES) as writer:
        writer.add_all(many(5))
    assert files(tmp_path / "one") == files(tmp_path / "all")
    for name in files(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()


def test_what_came_before_an_interrupt_is_written(tmp_path: Path):
    told = []

    def interrupted() -> Iterator[PanopticResult]:
        yield from many(3)
        raise KeyboardInterrupt

    def run() -> None:
        with RunWriter(tmp_path, task="panoptic", categories=CATEGORIES) as writer:
            writer.add_all(interrupted(), on_written=lambda result, written: told.append(result.name))

    with pytest.raises(KeyboardInterrupt):
        run()
    document = json.loads((tmp_path / "panoptic.json").read_text())
    assert [image["file_name"] for image in document["images"]] == told == ["0.jpg", "1.jpg", "2.jpg"]
    assert len(files(tmp_path)) == 7  # nothing half-written


def test_an_error_of_the_writing_thread_reaches_the_caller(tmp_path: Path):
    Image.new("RGB", (2, 2)).save(tmp_path / "2.png")
    told = []
    with (
        pytest.raises(OutputError, match=r"2.png exists and was not written by ovrcoat"),
        RunWriter(tmp_path, task="panoptic", categories=CATEGORIES) as writer,
    ):
        writer.add_all(many(50), on_written=lambda result, written: told.append(result.name))
    assert told == ["0.jpg", "1.jpg"]
    written = [name for name in files(tmp_path) if name.endswith(".overlay.jpg")]
    assert written == ["0.overlay.jpg", "1.overlay.jpg"]


def test_a_document_waits_for_the_image_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    begun, go_on = threading.Event(), threading.Event()
    writer = RunWriter(tmp_path, task="panoptic", categories=CATEGORIES)
    write_ids = RunWriter._write_ids

    def slow(self: RunWriter, result: PanopticResult, path: Path) -> Path:
        begun.set()
        go_on.wait(5)
        return write_ids(self, result, path)

    monkeypatch.setattr(RunWriter, "_write_ids", slow)
    adding = threading.Thread(target=writer.add, args=(panoptic_result("a.jpg"),))
    adding.start()
    assert begun.wait(5)
    threading.Timer(0.01, go_on.set).start()
    writer.close()
    adding.join()
    document = json.loads(writer.document_path.read_text())
    assert [image["file_name"] for image in document["images"]] == ["a.jpg"]


def test_a_second_run_replaces_the_first(tmp_path: Path):
    for name in ("one.jpg", "two.jpg"):
        with RunWriter(tmp_path, task="panoptic", categories=CATEGORIES) as writer:
            writer.add(panoptic_result(name))
            writer.close()  # closing twice does no harm
    document = json.loads(writer.document_path.read_text())
    assert [image["file_name"] for image in document["images"]] == ["two.jpg"]


def test_saved_results_share_a_document(tmp_path: Path):
    for name in ("one.jpg", "two.jpg", "two.png", "one.jpg"):
        panoptic_result(name).save(tmp_path)
    document = json.loads((tmp_path / "panoptic.json").read_text())
    outputs = {image["id"]: (image["file_name"], image["output"]) for image in document["images"]}
    assert sorted(outputs.values()) == [("one.jpg", "one"), ("two.jpg", "two"), ("two.png", "two-2")]
    annotated = {entry["image_id"]: entry["file_name"] for entry in document["annotations"]}
    assert annotated == {id: f"{output}.png" for id, (_, output) in outputs.items()}


def test_another_vocabulary_is_not_mixed_in(tmp_path: Path):
    panoptic_result().save(tmp_path)
    other = panoptic_result()
    other = type(other)(other.id_map, other.segments, CATEGORIES[::-1], other.image, other.name)
    with pytest.raises(OutputError, match=r"panoptic.json was written for another vocabulary.*overwriting"):
        other.save(tmp_path)
    other.save(tmp_path, overwrite=True)
    document = json.loads((tmp_path / "panoptic.json").read_text())
    assert [category["id"] for category in document["categories"]] == [12, 9, 7]


def test_a_picture_of_the_users_is_not_lost(tmp_path: Path):
    Image.new("RGB", (2, 2)).save(tmp_path / "room.png")
    before = (tmp_path / "room.png").read_bytes()
    with pytest.raises(OutputError, match=r"room.png exists and was not written by ovrcoat"):
        panoptic_result().save(tmp_path)
    assert (tmp_path / "room.png").read_bytes() == before
    (tmp_path / "room.png").write_text("no picture at all")
    with pytest.raises(OutputError, match="was not written by ovrcoat"):
        panoptic_result().save(tmp_path)
    panoptic_result().save(tmp_path, overwrite=True)
    with Image.open(tmp_path / "room.png") as picture:
        assert picture.size == (4, 3)


@pytest.mark.parametrize("resume", [False, True])
def test_a_document_of_others_is_not_lost(tmp_path: Path, resume: bool):
    (tmp_path / "panoptic.json").write_text('{"images": [], "info": "COCO 2017"}')
    with pytest.raises(OutputError, match=r"panoptic.json exists and was not written by ovrcoat"):
        RunWriter(tmp_path, task="panoptic", categories=CATEGORIES, resume=resume)


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", b'{"info": {"description": "ovrcoat segments"'])
def test_a_damaged_document_is_told(tmp_path: Path, content: bytes):
    (tmp_path / "panoptic.json").write_bytes(content)
    with pytest.raises(OutputError, match=r"cannot read the existing file .*panoptic.json"):
        RunWriter(tmp_path, task="panoptic", categories=CATEGORIES, resume=True)


def test_a_file_in_the_folders_place(tmp_path: Path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match=r"cannot write into .*out: it is a file"):
        RunWriter(tmp_path / "out", task="panoptic", categories=CATEGORIES)
    with pytest.raises(OutputError, match=r"cannot write .*deeper: Not a directory"):
        RunWriter(tmp_path / "out" / "deeper", task="panoptic", categories=CATEGORIES)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        RunWriter(tmp_path, task="panoptic", categories=CATEGORIES)


def test_a_folder_that_cannot_take_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object, **options: object) -> IO[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*panoptic.json: Permission denied. Choose another"):
        RunWriter(tmp_path, task="panoptic", categories=CATEGORIES)


def test_a_full_disk_leaves_no_half_file(tmp_path: Path):
    (tmp_path / "a.png").write_text("old")

    def fill(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"cannot write .*a.png: No space left on device. Choose another"):
        write_atomically(tmp_path / "a.png", fill)
    assert files(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_text() == "old"


def test_a_full_disk_while_the_document_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = RunWriter(tmp_path, task="panoptic", categories=CATEGORIES)

    def full(text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer._document, "_file", _Wrapped(writer._document._file, full))
        with pytest.raises(OutputError, match=r"cannot write .*panoptic.json: No space left on device"):
            writer.add(panoptic_result())
    writer.close()
    assert json.loads(writer.document_path.read_text())["annotations"] == []


class _Wrapped:
    """A file whose `write` is another one."""

    def __init__(self, file: IO[str], write: object) -> None:
        self.file, self.write = file, write

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


def test_a_document_that_cannot_be_put_in_place(tmp_path: Path):
    writer = RunWriter(tmp_path, task="panoptic", categories=CATEGORIES)
    writer.document_path.mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*panoptic.json: Is a directory"):
        writer.close()
    assert files(tmp_path) == ["panoptic.json"]
