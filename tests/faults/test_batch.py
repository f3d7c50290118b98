"""`ovrcoat batch` under faults: killed at every write, killed at random, a full disk, two processes."""

import errno
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ovrcoat.batch import destination as destination_module
from ovrcoat.batch.destination import Destination
from ovrcoat.batch.item import Item
from ovrcoat.batch.rows import Quarantined
from ovrcoat.errors import OutputError
from ovrcoat.system import atomic_write
from ovrcoat.system.folder_lock import FolderLock

ROW = {"id": "1", "path": "/1", "width": 1, "height": 1, "segments": []}


def stored_ids(folder: Path) -> list[str]:
    """Ids in all files, counted independently of the code under test."""
    return sorted(
        row["id"]
        for name in ("images", "quarantine")
        for path in (folder / name).glob("*.parquet")
        for row in pq.read_table(path, columns=["id"]).to_pylist()
    )


def test_killed_before_every_write_nothing_is_lost_or_doubled(tmp_path: Path):
    script = Path(__file__).with_name("batch_kill_points.py")
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    outcome = json.loads(run.stdout)
    assert outcome["problems"] == []
    assert outcome["kills"] > 30


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Forty small images, two of them unreadable, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    random_numbers = np.random.default_rng(0)
    for number in range(40):
        pixels = random_numbers.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02d}.png")
    for number in (3, 25):
        (tmp_path / "photos" / f"{number:02d}.png").write_bytes(b"damaged")
    return [f"photos/{number:02d}.png" for number in range(40)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments_each_image_is_there_once(photos: list[str], tmp_path: Path, workers: int):
    command = [
        sys.executable,
        "-m",
        "ovrcoat",
        "batch",
        "photos",
        "--output",
        "out",
        "--vocabulary",
        "cat; dog",
    ]
    command += ["--images-per-file", "3", "--workers", str(workers), "--json", "--quiet"]
    seed = random.Random(workers)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        before = len(list(tmp_path.glob("out/images/*.parquet")))
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(tmp_path.glob("out/images/*.parquet"))) > before:
                break  # it writes
            time.sleep(0.01)
        time.sleep(seed.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 1, run.stderr  # images in quarantine
    counts = json.loads(run.stdout)
    assert (counts["read"], counts["written"], counts["quarantined"]) == (40, 38, 2)
    assert stored_ids(tmp_path / "out") == photos


def test_a_full_disk_is_one_line_and_leaves_finished_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    items = [Item("1", "/1"), Item("2", "/2")]
    destination = Destination(tmp_path / "out")
    destination.open({}, items, resume=True)
    destination.write_part(0, [ROW], [])

    def write(file: object, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic_write._PartFile, "write", write)
        with pytest.raises(OutputError, match="No space left on device"):
            destination.write_part(1, [ROW | {"id": "2"}], [Quarantined("3", "/3", "x")])
    assert [path.name for path in destination.images.iterdir()] == ["part-00000000.parquet"]
    assert list(destination.quarantine.iterdir()) == []
    destination.write_part(1, [ROW | {"id": "2"}], [])
    assert stored_ids(tmp_path / "out") == ["1", "2"]


def test_a_full_disk_in_the_record_leaves_a_folder_that_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    destination = Destination(tmp_path / "out")

    def fail(path: Path, write: object, **options: object) -> None:
        raise atomic_write.cannot_write(path, OSError(errno.ENOSPC, "No space left on device"))

    with monkeypatch.context() as patch:
        patch.setattr(destination_module, "write_atomically", fail)
        with pytest.raises(OutputError, match="No space left"):
            destination.open({}, [Item("1", "/1")], resume=True)
    destination.open({}, [Item("1", "/1")], resume=True)
    assert (destination.folder / "run.json").is_file()


def test_a_shard_in_use_names_its_owner(photos: list[str], tmp_path: Path):
    command = [sys.executable, "-m", "ovrcoat", "batch", "photos", "--output", "out", "--vocabulary", "cat"]
    lock = tmp_path / "out" / ".shards" / "1-of-1"
    lock.mkdir(parents=True)
    with FolderLock(lock):
        run = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 2
    assert "is in use by process" in run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert stored_ids(tmp_path / "out") == []
