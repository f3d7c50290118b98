"""`ovrcoat batch --engine ray` on this machine: rows equal those of the local engine, also after kills."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ovrcoat.errors import CheckpointError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs pip install 'ovrcoat[ray]'"),
]
COMMAND = [sys.executable, "-m", "ovrcoat", "batch", "photos", "--vocabulary", "cat; dog; sky#stuff"]
COMMAND += ["--images-per-file", "2", "--quiet", "--device", "cpu"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty images in the current folder, one of them unreadable."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    random_numbers = np.random.default_rng(0)
    for number in range(20):
        pixels = random_numbers.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02d}.png")
    (tmp_path / "photos" / "07.png").write_bytes(b"damaged")
    return tmp_path


def table(folder: Path, name: str) -> list[dict]:
    rows = [row for path in folder.glob(f"{name}/*.parquet") for row in pq.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: row["id"])


def actors_of(driver: int) -> list[int]:
    """Process ids of the actors of a local Ray that `driver` has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name = (entry / "cmdline").read_bytes()
            parents = ancestors(int(entry.name))
        except OSError:
            continue
        if name.startswith(b"ray::MapWorker") and driver in parents:
            found.append(int(entry.name))
    return found


def ancestors(process: int) -> set[int]:
    found: set[int] = set()
    while process > 1:
        stat = Path(f"/proc/{process}/stat").read_text()
        process = int(stat.rpartition(")")[2].split()[1])
        found.add(process)
    return found


def wait_for_a_checkpoint(folder: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any(
            not path.name.endswith(".pending.parquet") for path in folder.glob("ray/checkpoint/*.parquet")
        ):
            return
        time.sleep(0.02)


def test_ray_and_local_rows_are_equal_after_a_worker_and_the_driver_were_killed(photos: Path):
    subprocess.run([*COMMAND, "--output", "local"], check=False, timeout=300)
    ray = [*COMMAND, "--output", "ray", "--engine", "ray", "--workers", "2"]
    process = subprocess.Popen(ray, stderr=subprocess.DEVNULL)
    wait_for_a_checkpoint(photos / "ray", process)
    assert process.poll() is None, "the checkpoint advances before the end"
    killed = actors_of(process.pid)[:1] if sys.platform == "linux" else []
    for actor in killed:
        os.kill(actor, signal.SIGKILL)
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list(photos.glob("ray/ray/checkpoint/*.parquet")))
    assert done >= 1, "the checkpoint is in use"
    again = subprocess.run(ray, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 1, again.stderr  # one image in quarantine
    for name in ("images", "quarantine"):
        assert table(photos / "ray", name) == table(photos / "local", name)
    assert len(table(photos / "ray", "images")) == 19
    assert len(list(photos.glob("ray/images/*.parquet"))) == 10, "one file per part, which actors share"
    assert list(photos.glob("ray/ray/rows/*.parquet")) == []
    schemas = [pq.read_schema(next(photos.glob(f"{name}/images/*.parquet"))) for name in ("ray", "local")]
    assert schemas[0].equals(schemas[1])
    assert (photos / "ray" / "run.json").is_file()


def test_a_wrong_address_is_one_line(photos: Path):
    ray = [*COMMAND, "--output", "ray", "--engine", "ray", "--ray-address", "127.0.0.1:1"]
    run = subprocess.run(ray, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 2
    assert "error: cannot connect to Ray at '127.0.0.1:1'" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (
            OSError(28, "No space left on device"),
            "out: Ray could not finish (OSError: No space left on device)",
        ),
        (RuntimeError("one\ntwo"), "out: Ray could not finish (RuntimeError: one)"),
        (CheckpointError("nano is damaged"), "nano is damaged"),
    ],
)
def test_an_error_of_a_worker_is_shown_without_its_traceback(cause: Exception, message: str):
    exceptions = pytest.importorskip("ray.exceptions")
    from ovrcoat.batch.ray_engine import _without_traceback

    error = exceptions.RayTaskError("f", "Traceback of another process", cause)
    assert str(_without_traceback(error, Path("out"))).startswith(message)
