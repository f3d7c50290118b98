"""Sources of a batch run: every kind gives the images, with ids that do not depend on chance."""

import io
import json
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ovrcoat.batch.item import Item
from ovrcoat.batch.sources import items_digest, list_items
from ovrcoat.batch.storage import read_range
from ovrcoat.data.images import read_image
from ovrcoat.errors import DatasetError, ImageError


def encoded(value: int = 0, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("b", "a"):
        (tmp_path / "photos" / f"{name}.png").write_bytes(encoded())
    return tmp_path


def ids(*sources: str) -> list[str]:
    return [item.id for item in list_items(sources)]


def test_a_folder_gives_sorted_images_with_absolute_paths(folder: Path):
    items = list_items(["photos"])
    assert [item.id for item in items] == ["photos/a.png", "photos/b.png"]
    assert items[0].path == str(folder / "photos" / "a.png")


def test_a_text_list_is_relative_to_itself(folder: Path):
    (folder / "photos" / "list.txt").write_text("\ufeffb.png\r\n\n../photos/a.png\n", encoding="utf-8")
    items = list_items(["photos/list.txt"])
    assert [item.id for item in items] == ["b.png", "../photos/a.png"]
    assert [item.path for item in items] == [str(folder / "photos" / name) for name in ("b.png", "a.png")]


def test_json_lines_and_parquet_give_ids(folder: Path):
    entries = [{"path": "photos/a.png", "id": 7, "more": 1}, {"path": "photos/b.png"}]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, entries)))
    pq.write_table(
        pa.table({"path": ["photos/a.png", "photos/b.png"], "id": ["x", "y"]}), folder / "list.parquet"
    )
    assert ids("list.jsonl", "list.parquet") == ["7", "photos/b.png", "x", "y"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"path": 3}', "line 1: path is 3, expected a text"),
        ("a.jsonl", b'{"path": "a"}\n{"path"', "line 2: not valid JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1: not valid JSON"),
        ("a.jsonl", b"[1]", "line 1: expected an object"),
        ("a.jsonl", b'{"path": "a", "id": true}', "id is True"),
        ("a.txt", b"\xff\xfe", "cannot be read"),
        ("a.txt", b"x" * (1 << 20), "line 1: longer than"),
        ("a.parquet", b"PAR1 no", "cannot be read"),
    ],
)
def test_bad_lists_name_the_place(folder: Path, name: str, content: bytes, message: str):
    (folder / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        list_items([name])


def test_a_parquet_list_without_path_names_its_columns(folder: Path):
    pq.write_table(pa.table({"file": ["a"]}), folder / "list.parquet")
    with pytest.raises(DatasetError, match="no column path, but file"):
        list_items(["list.parquet"])


def test_equal_ids_are_refused(folder: Path):
    (folder / "list.txt").write_text("photos/a.png\nphotos/a.png\n")
    with pytest.raises(DatasetError, match=r"photos/a\.png is given twice; ids must be unique"):
        list_items(["list.txt"])
    (folder / "other.jsonl").write_text(
        '{"path": "photos/a.png", "id": 1}\n{"path": "photos/b.png", "id": 1}'
    )
    with pytest.raises(DatasetError, match=r"id 1 is given for .*a\.png and .*b\.png; ids must"):
        list_items(["other.jsonl"])


def test_missing_sources_are_refused(folder: Path):
    for source in ("none.txt", "none.tar", "*.parquet"):
        with pytest.raises(DatasetError, match="there is no such file"):
            list_items([source])
    (folder / "empty").mkdir()
    with pytest.raises(ImageError, match="no image found"):
        list_items(["empty"])
    (folder / "empty.txt").write_text("\n")
    with pytest.raises(ImageError, match="there is no image"):
        list_items(["empty.txt"])
    with pytest.raises(DatasetError, match="unpack"):
        list_items(["a.tar.gz"])


def test_a_tar_shard_gives_one_image_per_key(folder: Path):
    members = {
        "x/0001.jpg": encoded(10, "JPEG"),
        "x/0001.json": b"{}",
        "x/0001.seg.png": encoded(20),
        "x/0002.png": encoded(30),
        "x/0002.webp": encoded(40),
        "x/._0003.png": encoded(50),
    }
    write_tar(folder / "a.tar", members)
    items = list_items(["a.tar"])
    assert [item.id for item in items] == ["a.tar/x/0001", "a.tar/x/0002.png", "a.tar/x/0002.webp"]
    assert items[1].path == str(folder / "a.tar" / "x" / "0002.png")
    image = read_image(items[1].source())
    assert (image.name, int(image.pixels.max())) == ("0002.png", 30)


def test_links_and_parent_folders_in_a_tar_file_are_only_names(folder: Path):
    with tarfile.open(folder / "a.tar", "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hosts"
        tar.addfile(link)
        info = tarfile.TarInfo("../../b.png")
        info.size = len(encoded())
        tar.addfile(info, io.BytesIO(encoded()))
    items = list_items(["a.tar"])
    assert [item.id for item in items] == ["a.tar/../../b"]
    assert read_image(items[0].source()).pixels.shape == (4, 6, 3)


@pytest.mark.parametrize("cut", [100, 700, 1024, 1100, 1700, 2048])
def test_a_cut_tar_file_loses_no_image_silently(folder: Path, cut: int):
    path = write_tar(folder / "a.tar", {"1.png": encoded(1), "2.png": encoded(2)})
    path.write_bytes(path.read_bytes()[:cut])
    *_, last = list_items(["a.tar"])
    assert last.id == "a.tar#end"
    assert "damaged or incomplete" in (last.problem or "")


def test_a_damaged_header_in_a_tar_file_is_reported(folder: Path):
    path = write_tar(folder / "a.tar", {f"{number}.png": encoded(number) for number in range(3)})
    content = bytearray(path.read_bytes())
    content[1024:1030] = b"......"
    path.write_bytes(content)
    first, last = list_items(["a.tar"])
    assert first.id == "a.tar/0"
    assert "after 1 images" in (last.problem or "")


def test_urls_of_any_file_system(folder: Path):
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pipe("/bucket/b.png", encoded(3))
    memory.pipe("/bucket/sub/a.png", encoded(4))
    memory.pipe("/bucket/list.txt", b"b.png\n")
    memory.pipe("/shards/a.tar", write_tar(folder / "a.tar", {"k.png": encoded(5)}).read_bytes())
    items = list_items(["memory://bucket"])
    assert [item.id for item in items] == ["memory:///bucket/b.png", "memory:///bucket/sub/a.png"]
    assert int(read_image(items[0].source()).pixels.max()) == 3
    (item,) = list_items(["memory://bucket/list.txt"])
    assert int(read_image(item.source()).pixels.max()) == 3
    (item,) = list_items(["memory://shards/*.tar"])
    assert int(read_image(item.source()).pixels.max()) == 5
    memory.rm("/bucket/b.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(items[0].source())
    with pytest.raises(DatasetError, match="cannot be opened"):
        list_items(["nothing://bucket"])


def test_a_range_that_does_not_exist_is_an_image_error(folder: Path):
    path = str(folder / "photos" / "a.png")
    with pytest.raises(ImageError, match="incomplete"):
        read_range(path, 10, 10_000)
    with pytest.raises(ImageError, match="expected an image of at most"):
        read_range(path, 0, 1 << 40)


def test_names_that_are_not_utf8_are_escaped_and_quarantined(folder: Path):
    Path("photos/c\udce9.png").write_bytes(encoded())
    (item,) = [item for item in list_items(["photos"]) if item.problem]
    assert item.id == "photos/c\\udce9.png"
    assert "not valid UTF-8" in (item.problem or "")


def test_the_digest_covers_ids_paths_and_order():
    one, two = Item("1", "a"), Item("2", "b")
    digests = {items_digest(items) for items in ([one, two], [two, one], [one], [Item("1", "b"), two])}
    assert len(digests) == 4
