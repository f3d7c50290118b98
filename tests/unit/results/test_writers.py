import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from ovrcoat.errors import OutputError
from ovrcoat.results import PanopticResult, writers
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
    write_id_png = writers.write_id_png

    def slow(file: IO[bytes], id_map: np.ndarray) -> None:
        begun.set()
        go_on.wait(5)
        write_id_png(file, id_map)

    monkeypatch.setattr(writers, "write_id_png", slow)
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


def test_colors_of_another_version_are_not_another_vocabulary(tmp_path: Path):
    panoptic_result("a.jpg").save(tmp_path)
    path = tmp_path / "panoptic.json"
    document = json.loads(path.read_text())
    document["categories"][0]["color"] = [1, 2, 3]
    path.write_text(json.dumps(document))
    panoptic_result("b.jpg").save(tmp_path)
    names = {image["file_name"] for image in json.loads(path.read_text())["images"]}
    assert names == {"a.jpg", "b.jpg"}


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


@pytest.mark.parametrize("resume", ["never", "interrupted", "always"])
def test_a_document_of_others_is_not_lost(tmp_path: Path, resume: Any):
    (tmp_path / "panoptic.json").write_text('{"images": [], "info": "COCO 2017"}')
    with pytest.raises(OutputError, match=r"panoptic.json exists and was not written by ovrcoat"):
        RunWriter(tmp_path, task="panoptic", categories=CATEGORIES, resume=resume)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\xff", r"panoptic.json exists and was not written by ovrcoat"),
        (b'{"info": {"description": "ovrcoat segments"', r"cannot read the existing file .*panoptic.json"),
    ],
)
def test_a_damaged_document_is_reported(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "panoptic.json").write_bytes(content)
    with pytest.raises(OutputError, match=message):
        RunWriter(tmp_path, task="panoptic", categories=CATEGORIES, resume="always")


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


class Disk:
    """A disk with room for `free` more bytes of the run's document."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free: int | None = None  # unlimited
        self.real = os.write
        monkeypatch.setattr("ovrcoat.results.run_document.os.write", self.write)

    def write(self, descriptor: int, content: memoryview) -> int:
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        new = max(0, position + len(content) - os.fstat(descriptor).st_size)
        if self.free is not None:
            if new > self.free and len(content) - new + self.free == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            if new > self.free:
                content = content[: len(content) - new + self.free]  # a short write, as the system does it
                new = self.free
            self.free -= new
        return self.real(descriptor, content)


@pytest.mark.parametrize("free", [0, 1, 30, 200])
def test_a_full_disk_keeps_the_document_of_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
):
    disk = Disk(monkeypatch)
    writer = RunWriter(tmp_path, task="panoptic", categories=CATEGORIES)
    for name in ("a.jpg", "b.jpg"):
        writer.add(panoptic_result(name))
    disk.free = free

    def fill() -> None:
        for number in range(99):
            writer.add(panoptic_result(f"c{number}.jpg"))

    with pytest.raises(OutputError, match=r"cannot write .*panoptic.json: No space left on device"):
        fill()
    written = sorted(path.stem for path in tmp_path.glob("*.png"))
    disk.free = 0
    writer.close(interrupted=True)
    document = json.loads(writer.document_path.read_text())
    assert sorted(image["output"] for image in document["images"]) == written
    assert len(document["annotations"]) == len(written) >= 2
    assert document["interrupted"] is True
    assert not [name for name in files(tmp_path) if name.startswith(".")]


def test_a_full_disk_hides_no_truncated_picture(tmp_path: Path):
    """Encoders that write to the file descriptor themselves do not notice a short write."""

    def save(file: IO[bytes]) -> None:
        with pytest.raises(OSError, match="fileno"):
            file.fileno()
        Image.new("RGB", (64, 64)).save(file, format="JPEG")

    write_atomically(tmp_path / "a.jpg", save)
    with Image.open(tmp_path / "a.jpg") as picture:
        picture.load()
    assert files(tmp_path) == ["a.jpg"]


def test_an_error_of_the_disk_is_reported_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`torch.save` reports a failed write as a RuntimeError of its own."""
    import torch

    from ovrcoat.system import atomic_write

    class Full(atomic_write._PartFile):
        def write(self, data: object, /) -> int:
            self.error = OSError(errno.ENOSPC, "No space left on device")
            raise self.error

    monkeypatch.setattr(atomic_write, "_PartFile", Full)
    with pytest.raises(OutputError, match=r"cannot write .*state.pt: No space left on device"):
        write_atomically(tmp_path / "state.pt", lambda file: torch.save({"a": torch.zeros(9999)}, file))
    assert files(tmp_path) == []


def test_a_killed_run_is_completed_by_the_next(tmp_path: Path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"12345")
    writer = RunWriter(tmp_path, task="panoptic", categories=CATEGORIES, settings={"trust": 0.5})
    for name in ("a.jpg", "b.jpg"):
        writer.add(panoptic_result(name), source=tmp_path / "images" / name)
    # the process is killed: nothing is closed, and its lock ends with it
    with (tmp_path / ".panoptic.json.journal").open("ab") as journal:
        journal.write(b'{"image": {"id": 3, "file')
    writer._document._journal.close()
    os.close(writer._document._part)
    writer._folder_lock.release()
    assert not writer.document_path.exists()

    with RunWriter(
        tmp_path, task="panoptic", categories=CATEGORIES, settings={"trust": 0.5}, resume="interrupted"
    ) as second:
        assert [image["file_name"] for image in second.earlier] == ["a.jpg", "b.jpg"]
        assert second.earlier[0]["source"]["bytes"] == 5
        second.add(panoptic_result("c.jpg"))
    document = json.loads(second.document_path.read_text())
    assert sorted(image["file_name"] for image in document["images"]) == ["a.jpg", "b.jpg", "c.jpg"]
    assert len(document["annotations"]) == len({entry["image_id"] for entry in document["annotations"]}) == 3
    assert "interrupted" not in document
    assert not [name for name in files(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("settings", [{"trust": 0.7}, {}])
def test_other_settings_do_not_resume(tmp_path: Path, settings: dict[str, Any]):
    writer = RunWriter(tmp_path, task="panoptic", categories=CATEGORIES, settings={"trust": 0.5})
    writer.add(panoptic_result("a.jpg"))
    writer.close(interrupted=True)
    with RunWriter(
        tmp_path, task="panoptic", categories=CATEGORIES, settings=settings, resume="interrupted"
    ) as second:
        assert second.earlier == ()


@pytest.mark.parametrize("name", [".panoptic.json.part", ".panoptic.json.journal"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"{}\n[]\n", b'{"format": "ovrcoat run journal 1"}\n7\n']
)
def test_remains_that_cannot_be_used_are_removed(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with RunWriter(tmp_path, task="panoptic", categories=CATEGORIES, resume="interrupted") as writer:
        assert writer.earlier == ()
    assert files(tmp_path) == ["panoptic.json"]


def test_a_second_writer_of_a_folder_is_refused_by_the_name_of_the_first(tmp_path: Path):
    with (
        RunWriter(tmp_path, task="panoptic", categories=CATEGORIES),
        pytest.raises(OutputError, match=rf"is in use by process {os.getpid()} on .*another output folder"),
    ):
        RunWriter(tmp_path, task="semantic", categories=CATEGORIES)
    with RunWriter(tmp_path, task="semantic", categories=CATEGORIES) as writer:
        writer.add(semantic_result())
    assert not [name for name in files(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("name", ["room.png", "room.overlay.jpg", "panoptic.json"])
@pytest.mark.parametrize("content", [b"mine", b"\xff\xd8\xff\xe0 a picture", b'{"images": []}'])
def test_no_file_of_the_user_is_replaced(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OutputError, match=rf"{name} exists and was not written by ovrcoat"):
        panoptic_result().save(tmp_path)
    assert (tmp_path / name).read_bytes() == content
    assert files(tmp_path) in ([name], sorted([name, "panoptic.json"]))
    panoptic_result().save(tmp_path, overwrite=True)
    panoptic_result().save(tmp_path)  # now they are ours
    assert (tmp_path / name).read_bytes() != content


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("categories"),
        lambda document: document.update(images=None),
        lambda document: document.update(images=[7]),
        lambda document: document["images"][0].pop("id"),
        lambda document: document["images"][0].update(output="../../elsewhere"),
        lambda document: document["images"][0].update(output="a\0b/.."),
        lambda document: document["annotations"][0].update(image_id=99),
        lambda document: document["annotations"].append(None),
        lambda document: document["annotations"][0].update(segments_info=7),
        lambda document: document.update(categories=[None]),
        lambda document: document["images"][0].update(id=True),
        lambda document: document["images"][0].update(id=10**300),
        lambda document: document["images"][0].update(output=None),
        lambda document: document["images"][0].update(output=7),
        lambda document: document["images"][0].update(output="a\0"),
        lambda document: document["images"][0].update(output="a" * 5000),
        lambda document: document["images"][0].update(output="\ud800"),
        lambda document: document["images"][0].update(output="/x"),
        lambda document: document["images"][0].update(file_name=None),
        lambda document: document["images"][0].pop("width"),
        lambda document: document["images"][0].update(height="9"),
        lambda document: document["images"][0].update(exported=None),
        lambda document: document["images"][0].update(exported=[7]),
        lambda document: document["images"][0].update(exported=["yolo/../../x"]),
        lambda document: document["images"][0].update(exported=["/etc/passwd"]),
        lambda document: document["images"][0].update(exported=["a\0"]),
        lambda document: document["images"][0].update(source={"path": 7}),
        lambda document: document["images"][0].update(source=[]),
        lambda document: document["images"][0].update(notes=7),
    ],
)
def test_a_document_of_strangers_is_checked(tmp_path: Path, change: Any):
    panoptic_result().save(tmp_path / "out")
    path = tmp_path / "out" / "panoptic.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(OutputError, match=r"cannot read the existing file .*panoptic.json"):
        panoptic_result("other.jpg").save(tmp_path / "out")
    assert [item.name for item in tmp_path.iterdir()] == ["out"]
    panoptic_result("other.jpg").save(tmp_path / "out", overwrite=True)


def test_a_document_that_cannot_be_put_in_place(tmp_path: Path):
    writer = RunWriter(tmp_path, task="panoptic", categories=CATEGORIES)
    writer.document_path.mkdir()
    writer.add(panoptic_result("a.jpg"))
    with pytest.raises(OutputError, match=r"cannot write .*panoptic.json: Is a directory"):
        writer.close()
    writer.document_path.rmdir()
    with RunWriter(tmp_path, task="panoptic", categories=CATEGORIES, resume="interrupted") as second:
        assert [image["file_name"] for image in second.earlier] == ["a.jpg"]  # nothing is lost


@pytest.mark.parametrize("depth", [200_000, 2_000_000])
@pytest.mark.parametrize("place", ["document", "image"])
def test_a_document_with_deep_nesting_is_refused(tmp_path: Path, depth: int, place: str):
    panoptic_result().save(tmp_path)
    path = tmp_path / "panoptic.json"
    nested = "[" * depth + "]" * depth
    before, after = ('"images": [{', '"images": [{"x": ') if place == "image" else ('"annotations"', '"x": ')
    extra = f"{after}{nested}, " + ('"annotations"' if place == "document" else "")
    path.write_text(path.read_text().replace(before, extra, 1))
    with pytest.raises(OutputError, match="nested more than 200 levels"):
        panoptic_result("other.jpg").save(tmp_path)
    panoptic_result("other.jpg").save(tmp_path, overwrite=True)
    assert [image["file_name"] for image in json.loads(path.read_text())["images"]] == ["other.jpg"]


@pytest.mark.parametrize("name", [".panoptic.json.part", ".panoptic.json.journal", ".ovrcoat.owner"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_links_in_the_folder_are_not_written_through(tmp_path: Path, name: str, overwrite: bool):
    outside = tmp_path / "outside"
    outside.write_text('{"format": "ovrcoat run journal 1"}\n{"image": {}, "end": 2}\n')
    before = outside.read_text()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(outside)
    if name.endswith("journal"):
        (tmp_path / "out" / ".panoptic.json.part").write_text("{}")
    panoptic_result().save(tmp_path / "out", overwrite=overwrite)
    assert outside.read_text() == before
    assert len(json.loads((tmp_path / "out" / "panoptic.json").read_text())["images"]) == 1
