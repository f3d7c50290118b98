import multiprocessing
import multiprocessing.connection
import os
import pickle
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dataset_samples import put, put_zip
from ovrcoat.data import files
from ovrcoat.data.archive import Archive
from ovrcoat.data.files import FileTree
from ovrcoat.errors import DatasetError
from ovrcoat.system.input_files import SizeLimit

FILES = {"labels/a.png": b"A", "labels/deep/b.png": b"B", "names.txt": b"cat"}


def forms(tmp_path: Path) -> dict[str, Path]:
    """One dataset called "home" in all supported layouts."""
    put(tmp_path / "parent" / "home", FILES)
    put(tmp_path / "itself", FILES)
    put_zip(tmp_path / "plain.zip", FILES)
    put_zip(tmp_path / "topped.zip", {f"home/{name}": content for name, content in FILES.items()})
    put_zip(tmp_path / "other-top.zip", {f"anything/{name}": content for name, content in FILES.items()})
    mac = {"__MACOSX/._names.txt": b"junk", **{f"top/{name}": content for name, content in FILES.items()}}
    put_zip(tmp_path / "mac.zip", mac)
    put_zip(tmp_path / "zips" / "labels.zip", {name: FILES[name] for name in list(FILES)[:2]})
    put(tmp_path / "zips", {"names.txt": b"cat"})
    put_zip(tmp_path / "parent-of-zips" / "home" / "all.zip", FILES)
    return {
        "parent": tmp_path / "parent",
        "itself": tmp_path / "itself",
        "plain zip": tmp_path / "plain.zip",
        "zip with its home": tmp_path / "topped.zip",
        "zip with another folder": tmp_path / "other-top.zip",
        "zip from a Mac": tmp_path / "mac.zip",
        "folder with zips": tmp_path / "zips",
        "parent of a folder with zips": tmp_path / "parent-of-zips",
    }


def test_folders_and_zip_files_are_read_alike(tmp_path: Path):
    for form, root in forms(tmp_path).items():
        tree = FileTree(root, home="home")
        assert {name: tree.read(name) for name in FILES} == FILES, form
        assert tree.list("labels", suffixes=(".png",)) == ("labels/a.png", "labels/deep/b.png"), form
        assert not tree.exists("labels/c.png"), form
        assert tree.list("nothing", suffixes=(".png",)) == (), form


def test_listing_leaves_out_other_suffixes_and_hidden_files(tmp_path: Path):
    put(tmp_path, {"images/a.JPG": b"", "images/._a.jpg": b"", "images/Thumbs.db": b""})
    assert FileTree(tmp_path, home="home").list("images", suffixes=(".jpg",)) == ("images/a.JPG",)


def test_a_zip_inside_a_zip_is_read_by_its_name(tmp_path: Path):
    inner = put_zip(tmp_path / "panoptic_val.zip", {"panoptic_val/a.png": b"A"}).read_bytes()
    root = put_zip(tmp_path / "home" / "outer.zip", {"annotations/panoptic_val.zip": inner}).parent
    tree = FileTree(root, home="home")
    assert tree.read("panoptic_val/a.png") == b"A"
    assert tree.describe("panoptic_val/a.png") == (
        f"{root / 'outer.zip'} → annotations/panoptic_val.zip → panoptic_val/a.png"
    )
    assert not tree.exists("other/a.png")


def test_a_damaged_zip_inside_a_zip_is_reported(tmp_path: Path):
    root = put_zip(tmp_path / "outer.zip", {"panoptic_val.zip": b"no zip"})
    with pytest.raises(DatasetError, match=r"outer\.zip → panoptic_val\.zip: this zip file cannot be opened"):
        FileTree(root, home="home").read("panoptic_val/a.png")


def test_what_prepare_writes_beside_a_zip_is_found(tmp_path: Path):
    root = put_zip(tmp_path / "release.zip", {"labels/a.png": b"A"})
    tree = FileTree(root, home="home")
    assert tree.output_folder("labels/a.png") == tmp_path / "home"
    put(tmp_path / "home", {"made.json": b"{}"})
    assert FileTree(root, home="home").read("made.json") == b"{}"


def test_output_goes_where_the_source_lies(tmp_path: Path):
    put(tmp_path / "home", {"labels/a.png": b"A"})
    assert FileTree(tmp_path, home="home").output_folder("labels/a.png") == tmp_path / "home"
    put_zip(tmp_path / "inside" / "home" / "labels.zip", {"labels/a.png": b"A"})
    tree = FileTree(tmp_path / "inside", home="home")
    assert tree.output_folder("labels/a.png") == tmp_path / "inside" / "home"
    with pytest.raises(DatasetError, match=r"b\.png not found"):
        tree.output_folder("b.png")


def test_a_missing_file_lists_the_searched_folders(tmp_path: Path):
    put_zip(tmp_path / "home" / "a.zip", FILES)
    tree = FileTree(tmp_path, home="home")
    with pytest.raises(DatasetError, match=r"^b\.json not found; looked in ") as caught:
        tree.read("b.json", advice="Get it there.")
    assert str(tmp_path / "home" / "a.zip") in str(caught.value)
    assert str(caught.value).endswith("Get it there.")
    assert str(tree.missing("b.json", "c.json", advice="")).startswith("b.json or c.json not found")


def test_a_place_that_does_not_exist_is_reported(tmp_path: Path):
    with pytest.raises(DatasetError, match="nowhere: the folder or zip file does not exist"):
        FileTree(tmp_path / "nowhere", home="home")


def test_a_file_that_is_no_zip_is_reported(tmp_path: Path):
    put(tmp_path, {"labels.tar": b"tar"})
    with pytest.raises(DatasetError, match=r"labels\.tar: expected a folder or a zip file"):
        FileTree(tmp_path / "labels.tar", home="home")


def test_a_zip_that_is_cut_off_is_reported(tmp_path: Path):
    whole = put_zip(tmp_path / "home" / "a.zip", FILES).read_bytes()
    (tmp_path / "home" / "a.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"a\.zip: this zip file cannot be opened .* download it again"):
        FileTree(tmp_path, home="home").read("names.txt")


def test_a_damaged_member_is_reported(tmp_path: Path):
    path = put_zip(tmp_path / "a.zip", {"names.txt": b"something to be found"})
    path.write_bytes(path.read_bytes().replace(b"something", b"somethink"))
    with pytest.raises(DatasetError, match=r"a\.zip → names\.txt: cannot be read \(Bad CRC-32"):
        FileTree(path, home="home").read("names.txt")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_file_that_unpacks_to_too_much_is_not_read(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(files, "JSON", SizeLimit(10, "NO_VARIABLE", unit=1))
    root = put(tmp_path / "a", FILES) if form == "folder" else put_zip(tmp_path / "a.zip", FILES)
    assert FileTree(root, home="home").read("names.txt") == b"cat"
    monkeypatch.setattr(files, "JSON", SizeLimit(2, "NO_VARIABLE", unit=1))
    with pytest.raises(DatasetError, match=r"names\.txt: .*3 bytes.*, expected at most 2"):
        FileTree(root, home="home").read("names.txt")
    assert FileTree(root, home="home").read("labels/a.png") == b"A"  # pictures have their own limit


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, limit: SizeLimit) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    put(tmp_path, FILES)
    monkeypatch.setattr(files, "read_input", refuse)
    with pytest.raises(DatasetError, match=r"names\.txt: cannot be read \(Permission denied\)"):
        FileTree(tmp_path, home="home").read("names.txt")


def test_members_that_lead_outside_do_not_exist(tmp_path: Path):
    root = put_zip(tmp_path / "a.zip", {"../evil.txt": b"1", "/evil.txt": b"2", "good.txt": b"3"})
    tree = FileTree(root, home="home")
    assert tree.read("good.txt") == b"3"
    assert not tree.exists("../evil.txt")
    assert not tree.exists("/evil.txt")


def test_threads_read_one_zip_at_once(tmp_path: Path):
    content = {f"images/{number}.jpg": os.urandom(20_000) for number in range(40)}
    tree = FileTree(put_zip(tmp_path / "a.zip", content), home="home")
    with ThreadPoolExecutor(8) as pool:
        read = dict(zip(content, pool.map(tree.read, content), strict=True))
    assert read == content


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")  # what is tested here
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_its_own_file_position(tmp_path: Path):
    content = {f"images/{number}.jpg": os.urandom(50_000) for number in range(30)}
    tree = FileTree(put_zip(tmp_path / "a.zip", content), home="home")
    assert tree.read("images/0.jpg") == content["images/0.jpg"]  # opened before the fork

    def work(connection: multiprocessing.connection.Connection) -> None:
        connection.send(all(tree.read(name) == expected for name, expected in content.items()))

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=work, args=(theirs,))
    child.start()
    assert all(tree.read(name) == expected for name, expected in content.items())
    assert ours.recv()
    child.join()


def test_a_tree_can_be_sent_to_another_process(tmp_path: Path):
    tree = FileTree(put_zip(tmp_path / "a.zip", FILES), home="home")
    assert tree.read("names.txt") == b"cat"
    assert pickle.loads(pickle.dumps(tree)).read("names.txt") == b"cat"


def test_an_encrypted_member_is_reported(tmp_path: Path):
    path = put_zip(tmp_path / "a.zip", {"names.txt": b"cat"})
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"names\.txt: cannot be read: it is encrypted"):
        FileTree(path, home="home").read("names.txt")


def test_a_compression_method_that_python_lacks_is_named(tmp_path: Path):
    path = put_zip(tmp_path / "a.zip", {"names.txt": b"cat"})
    content = bytearray(path.read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + method] = 9  # Deflate64, as Windows packs large files
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"names\.txt: cannot be read: .* with Deflate64.*unpack"):
        FileTree(path, home="home").read("names.txt")


def test_names_with_backslashes_and_in_another_unicode_form_are_found(tmp_path: Path):
    composed, decomposed = "images/se\u00f1al.png", "images/sen\u0303al.png"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("top\\labels\\one.png", b"backslash")
        packed.writestr(f"top/{decomposed}", b"mac")
    tree = FileTree(tmp_path / "a.zip", home="home")
    assert tree.read("labels/one.png") == b"backslash"
    assert tree.read(composed) == tree.read(decomposed) == b"mac"
    assert tree.list("images", suffixes=(".png",)) == (composed,)
    folder = FileTree(put(tmp_path / "folder", {decomposed: b"mac"}), home="home")
    assert folder.read(composed) == b"mac"
    assert folder.list("images", suffixes=(".png",)) == (composed,)


def test_utf8_names_without_the_flag_that_says_so_are_found(tmp_path: Path):
    name = "images/se\u00f1al.png"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(name, b"mac")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags + 1] &= 0xF7  # as the archive utility of macOS writes them
    (tmp_path / "a.zip").write_bytes(bytes(content))
    assert FileTree(tmp_path / "a.zip", home="home").read(name) == b"mac"


def test_checksums_of_a_folder_and_its_zip_are_equal(tmp_path: Path):
    trees = [
        FileTree(put(tmp_path / "folder", FILES), home="home"),
        FileTree(put_zip(tmp_path / "a.zip", FILES), home="home"),
    ]
    first, second = [(tree.checksum("names.txt"), tree.file_size("names.txt")) for tree in trees]
    assert first == second == ((3, zlib.crc32(b"cat")), 3)
    assert [(tree.checksum("absent"), tree.file_size("absent")) for tree in trees] == [(None, None)] * 2


def test_an_archive_is_opened_when_asked_for_something(tmp_path: Path):
    archive = Archive(tmp_path / "absent.zip", home="home")
    assert str(archive).endswith("absent.zip")
    with pytest.raises(DatasetError, match="cannot be opened"):
        archive.find("a")


@pytest.mark.parametrize(
    "path", ["../secret.png", "labels/../../secret.png", "..\\secret.png", "C:/x.png", "a\0b"]
)
def test_no_file_outside_of_the_dataset_is_read(tmp_path: Path, path: str):
    put(tmp_path, {"secret.png": b"secret"})
    tree = FileTree(put(tmp_path / "home", FILES), home="home")
    for outside in (path, str(tmp_path / "secret.png")):
        assert not tree.exists(outside)
        assert tree.file_size(outside) is None
        assert tree.checksum(outside) is None
        with pytest.raises(DatasetError, match="not found"):
            tree.read(outside)
