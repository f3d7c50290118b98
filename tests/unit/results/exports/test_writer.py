"""Labels are never overwritten by default, and documents of a run survive interrupts and kills."""

import dataclasses
import errno
import json
import shutil
from pathlib import Path

import pytest

from label_scene import CATEGORIES, NAME, panoptic_scene
from ovrcoat.errors import OutputError
from ovrcoat.results import PanopticResult
from ovrcoat.results.exports import json_lines
from ovrcoat.results.writers import RunWriter

STEM = Path(NAME).stem
DOCUMENT_FORMATS = ("coco-instances", "cvat", "jsonl")
LISTS = ("coco-instances", "annotations", "jsonl")  # see `documents`
PER_IMAGE = {
    "yolo": f"labels/{STEM}.txt",
    "labelme": f"{STEM}.json",
    "label-studio": f"{STEM}.json",
    "semantic-png": f"labels/{STEM}.png",
    "cityscapes": f"{STEM}_gtFine_instanceIds.png",
    "npz": f"{STEM}.npz",
}


def changed_scene() -> PanopticResult:
    """The scene with another label for one segment."""
    scene = panoptic_scene()
    first = dataclasses.replace(scene.segments[0], category_id=9, category=CATEGORIES[1].name)
    return dataclasses.replace(scene, segments=(first, *scene.segments[1:]))


@pytest.mark.parametrize(("format", "file"), PER_IMAGE.items(), ids=PER_IMAGE)
def test_a_file_of_another_program_stays(format: str, file: str, tmp_path: Path):
    path = tmp_path / format / file
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(OutputError, match=r"exists .*allow overwriting"):
        panoptic_scene().save(tmp_path, format=f"coco-panoptic,{format}")
    assert path.read_text() == "{}"
    assert not (tmp_path / f"{STEM}.png").exists(), "an image is complete or not there"
    panoptic_scene().save(tmp_path, format=format, overwrite=True)
    assert path.stat().st_size > 2


@pytest.mark.parametrize("format", [name for name in PER_IMAGE if name != "yolo"])
def test_labels_of_an_earlier_run_are_replaced(format: str, tmp_path: Path):
    panoptic_scene().save(tmp_path, format=format)
    before = (tmp_path / format / PER_IMAGE[format]).read_bytes()
    changed_scene().save(tmp_path, format=format)
    assert (tmp_path / format / PER_IMAGE[format]).read_bytes() != before


def test_text_labels_cannot_be_recognized_and_are_replaced_by_equal_ones_only(tmp_path: Path):
    panoptic_scene().save(tmp_path, format="yolo")
    panoptic_scene().save(tmp_path, format="yolo")
    with pytest.raises(OutputError, match=r"labels.a scene\.txt exists with other contents"):
        changed_scene().save(tmp_path, format="yolo")
    changed_scene().save(tmp_path, format="yolo", overwrite=True)
    text = (tmp_path / "yolo" / "labels" / f"{STEM}.txt").read_text()
    assert [line[0] for line in text.splitlines()] == ["1", "1", "0", "2"]


@pytest.mark.parametrize("format", ["yolo", "semantic-png", "cityscapes", "labelme"])
def test_a_folder_holds_labels_of_one_vocabulary(format: str, tmp_path: Path):
    panoptic_scene().save(tmp_path, format=format)
    (tmp_path / "run.json").unlink()
    other = dataclasses.replace(panoptic_scene(), name="b.png", categories=CATEGORIES[:3])
    with pytest.raises(OutputError, match=r"exists with other contents.* other settings"):
        other.save(tmp_path, format=format)
    assert other.save(tmp_path / "b", format=format)


def test_a_labelme_file_that_was_edited_in_labelme_stays(tmp_path: Path):
    panoptic_scene().save(tmp_path, format="labelme")
    path = tmp_path / "labelme" / f"{STEM}.json"
    document = json.loads(path.read_text())
    document["ovrcoat"] = document.pop("ovrcoat")  # Labelme writes keys that it does not know last
    path.write_text(json.dumps(document, indent=2))
    with pytest.raises(OutputError, match="was not written by ovrcoat"):
        panoptic_scene().save(tmp_path, format="labelme")


def test_a_folder_name_that_is_taken_by_a_file(tmp_path: Path):
    (tmp_path / "yolo").write_text("mine")
    with pytest.raises(OutputError, match="it is a file, not a folder"):
        panoptic_scene().save(tmp_path, format="yolo")
    panoptic_scene().save(tmp_path)  # the folder is not locked


def documents(folder: Path) -> dict[str, list[str]]:
    """The images that each document of the run lists."""
    coco = [folder / "coco-instances" / "instances.json"]
    coco += [folder / "cvat" / "annotations" / "instances_default.json"]
    lists = {path.parts[-2]: [i["output"] for i in json.loads(path.read_text())["images"]] for path in coco}
    lines = (folder / "jsonl" / "segments.jsonl").read_text().splitlines()
    return {name: sorted(names) for name, names in lists.items()} | {
        "jsonl": sorted(json.loads(line)["output"] for line in lines)
    }


def named(name: str) -> PanopticResult:
    return dataclasses.replace(panoptic_scene(), name=name)


def test_saving_into_one_folder_extends_its_documents(tmp_path: Path):
    pytest.importorskip("pycocotools")
    for name in ("a.png", "b.png", "a.png"):
        named(name).save(tmp_path, format=DOCUMENT_FORMATS)
    assert documents(tmp_path) == {name: ["a", "b"] for name in LISTS}
    document = json.loads((tmp_path / "coco-instances" / "instances.json").read_text())
    ids = [annotation["id"] for annotation in document["annotations"]]
    assert len(ids) == len(set(ids)) == 8


def open_run(folder: Path, **options: str) -> RunWriter:
    return RunWriter(
        folder,
        task="panoptic",
        categories=CATEGORIES,
        formats=DOCUMENT_FORMATS,
        resume="interrupted",
        **options,
    )


@pytest.mark.parametrize("end", ["run", "kill"])
def test_documents_are_continued_after_an_interrupt_or_a_kill(end: str, tmp_path: Path):
    pytest.importorskip("pycocotools")
    writer = open_run(tmp_path / "run")
    writer.add(named("a.png"))
    shutil.copytree(tmp_path / "run", tmp_path / "kill")  # what a process leaves when it is killed now
    writer.close(interrupted=True)
    with open_run(tmp_path / end) as writer:
        (entry,) = writer.earlier
        assert writer.files_of(entry) is not None
        writer.add(named("b.png"))
    assert documents(tmp_path / end) == {name: ["a", "b"] for name in LISTS}


def test_an_image_whose_labels_are_gone_is_not_complete(tmp_path: Path):
    pytest.importorskip("pycocotools")
    writer = open_run(tmp_path)
    writer.add(named("a.png"))
    writer.close(interrupted=True)
    (tmp_path / "jsonl" / "segments.jsonl").write_text("")
    with open_run(tmp_path) as writer:
        assert [writer.files_of(entry) for entry in writer.earlier] == [None]


def test_a_full_disk_leaves_complete_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pycocotools")
    write_all = json_lines.write_all

    def fill_disk(descriptor: int, content: bytes, *, position: int) -> None:
        write_all(descriptor, content[:10], position=position)
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = RunWriter(tmp_path, task="panoptic", categories=CATEGORIES, formats="jsonl")
    writer.add(named("a.png"))
    with monkeypatch.context() as patch:
        patch.setattr(json_lines, "write_all", fill_disk)
        with pytest.raises(OutputError, match="No space left on device"):
            writer.add(named("b.png"))
    writer.add(named("c.png"))
    writer.close()
    lines = (tmp_path / "jsonl" / "segments.jsonl").read_text().splitlines()
    assert [json.loads(line)["output"] for line in lines] == ["a", "c"]


def test_a_new_run_starts_new_documents(tmp_path: Path):
    pytest.importorskip("pycocotools")
    for name in ("a.png", "b.png"):
        with open_run(tmp_path) as writer:
            writer.add(named(name))
    assert documents(tmp_path) == {name: ["b"] for name in LISTS}


def test_a_run_without_the_default_format_has_a_bare_document(tmp_path: Path):
    with RunWriter(tmp_path, task="instance", categories=CATEGORIES, formats="npz") as writer:
        pass
    assert writer.document_path.name == "run.json"
    panoptic_scene().save(tmp_path / "p", format="npz")
    document = json.loads((tmp_path / "p" / "run.json").read_text())
    assert len(document["annotations"][0]["segments_info"]) == 4
    assert document["images"][0]["exported"] == [f"npz/{STEM}.npz"]
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["npz", "run.json"]
