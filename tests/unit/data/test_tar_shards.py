"""A dataset in tar shards gives what the same dataset in folders gives."""

import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

import tiny_training
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.tar_shards import TarShards
from ovrcoat.errors import DatasetError
from tar_packing import add, pack
from tiny_training import CAT, SKY, ZEBRA


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_training.make_images(tmp_path / "full", [(CAT, SKY), (SKY, CAT), (CAT, ZEBRA)])


def test_images_and_labels_are_those_of_the_folder(folder: Path, tmp_path: Path):
    packed = open_dataset(pack(folder, tmp_path / "packed"))
    plain = open_dataset(folder)
    assert len(packed) == len(plain) == 3
    packed = pickle.loads(pickle.dumps(packed))  # as a data loading process receives it
    for record, other in zip(packed.records, plain.records, strict=True):
        assert packed.image(record) == plain.image(other)
        assert np.array_equal(packed.panoptic(record).id_map, plain.panoptic(other).id_map)
    assert packed.fingerprint() == plain.fingerprint()


def test_a_file_in_two_shards_is_an_error(folder: Path, tmp_path: Path):
    packed = pack(folder, tmp_path / "packed")
    (packed / "shards" / "9.tar").write_bytes((packed / "shards" / "0000.tar").read_bytes())
    with pytest.raises(DatasetError, match=r"images/full0\.png is in .*0000\.tar and again in .*9\.tar"):
        open_dataset(packed).image(open_dataset(packed).records[0])


@pytest.mark.parametrize("kept", [700, 3000, -1024])
def test_an_incomplete_shard_is_an_error(folder: Path, tmp_path: Path, kept: int):
    packed = pack(folder, tmp_path / "packed", shards=1)
    shard = packed / "shards" / "0000.tar"
    content = shard.read_bytes()
    end = content.rstrip(b"\0")
    shard.write_bytes(content[:kept] if kept > 0 else end)
    dataset = open_dataset(packed)
    with pytest.raises(DatasetError, match=r"0000\.tar: this tar file cannot be read"):
        dataset.image(dataset.records[0])


def test_a_shard_that_was_cut_after_listing_is_an_error(folder: Path, tmp_path: Path):
    packed = pack(folder, tmp_path / "packed", shards=1)
    dataset = open_dataset(packed)
    dataset.image(dataset.records[0])
    shard = packed / "shards" / "0000.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(DatasetError, match="the tar file ends within the file"):
        dataset.image(dataset.records[-1])


def test_members_that_are_no_plain_files_are_not_read(tmp_path: Path):
    """A link to a file outside, a path out of the folder, a sparse member, and a size that no file has."""
    path = tmp_path / "hostile.tar"
    (tmp_path / "secret.png").write_bytes(b"secret")
    with tarfile.open(path, "w") as tar:
        add(tar, "link.png", b"", type=tarfile.SYMTYPE, linkname="../secret.png")
        add(tar, "hard.png", b"", type=tarfile.LNKTYPE, linkname="secret.png")
        add(tar, "../outside.png", b"outside")
        add(tar, "a.b.png", b"not an image of its own")
        add(tar, "good.png", b"good")
    shards = TarShards([path])
    assert list(shards.list("images")) == ["images/../outside.png", "images/good.png"]
    assert shards.read("images/good.png", limit=10) == b"good"
    with pytest.raises(DatasetError, match="4 bytes"):
        shards.read("images/good.png", limit=3)
    assert not list(tmp_path.rglob("outside.png"))
