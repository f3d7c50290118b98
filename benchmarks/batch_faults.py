"""`ovrcoat batch` on many images under kills and a full disk, and an independent count of the images.

    python benchmarks/batch_faults.py FOLDER --images 2000 --engine local

Two workers segment small images, of which every hundredth is damaged, with nano at a low resolution. Five
times a worker is killed, once the driver, and once the disk is full (a tmpfs: needs root; else left out). The
command is repeated until it is complete. Prints one JSON document; the exit status is 1 if an image is
missing or doubled. Linux only.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

DAMAGED_EVERY = 100
IMAGES_PER_FILE = 20
WORKERS = 2
KILLS = 5
DISK_BYTES = 64 << 20
WORKER_NAMES = {"local": b"multiprocessing.spawn", "ray": b"ray::MapWorker"}


def main() -> int:
    """Run everything; print the outcome."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    photos, model = options.folder / "photos", options.folder / "small.safetensors"
    make_images(photos, options.images)
    save_small_nano(model)
    disk = options.folder / f"disk-{options.engine}"
    disk.mkdir(exist_ok=True)
    has_disk = os.geteuid() == 0
    if has_disk:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", disk], check=True)
    try:
        run = Run(options, photos, model, disk / "out")
        started = time.perf_counter()
        faults = run.under_faults(full_disk=has_disk)
        outcome = {"engine": options.engine, **faults, **count(run.output, photos)}
        outcome["seconds"] = round(time.perf_counter() - started)
    finally:
        if has_disk:
            subprocess.run(["umount", disk], check=True)
    print(json.dumps(outcome, indent=2))
    return int(bool(outcome["missing"] or outcome["doubled"] or outcome["in_the_wrong_table"]))


class Run:
    """The command and what disturbs it."""

    def __init__(self, options: Namespace, photos: Path, model: Path, output: Path) -> None:
        self.engine: str = options.engine
        self.output = output
        self.log = options.folder / f"run-{options.engine}.log"
        self.random = random.Random(options.seed)
        self.command = [sys.executable, "-m", "ovrcoat", "batch", str(photos), "--output", str(output)]
        self.command += ["--model", str(model), "--vocabulary", "cat; dog; sky#stuff", "--device", "cpu"]
        self.command += ["--engine", self.engine, "--workers", str(WORKERS), "--quiet"]
        self.command += ["--images-per-file", str(IMAGES_PER_FILE)]

    def under_faults(self, *, full_disk: bool) -> dict[str, object]:
        """Disturb the command, and repeat it until it is complete."""
        workers_killed = starts = 0
        driver_killed = False
        while not driver_killed:
            starts += 1
            with self._started() as process:
                while workers_killed < KILLS and self._wait_for_parts(process, self.random.randint(1, 4)):
                    if (worker := self._worker(process.pid)) is not None:
                        os.kill(worker, signal.SIGKILL)
                        workers_killed += 1
                if workers_killed == KILLS and self._wait_for_parts(process, 2):
                    process.send_signal(signal.SIGKILL)
                    driver_killed = True
            if not driver_killed and process.returncode in (0, 1):
                sys.exit(f"it ended after {workers_killed} kills; use more --images, or see {self.log}")
        self._wait_for_orphans()
        disk_error = self._with_full_disk() if full_disk else "not tried: needs root"
        starts += int(full_disk)
        last = subprocess.run(self.command, capture_output=True, text=True, check=False)
        return {
            "workers_killed": workers_killed,
            "driver_killed": driver_killed,
            "full_disk": disk_error,
            "starts": starts + 1,
            "last_status": last.returncode,
            "last_message": last.stderr.strip().splitlines()[-1:],
        }

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=log)

    def _finished_parts(self) -> int:
        folders = [self.output / "images", self.output / "ray" / "checkpoint", self.output / "ray" / "rows"]
        return max(len(list(folder.glob("*.parquet"))) for folder in folders)

    def _wait_for_parts(self, process: subprocess.Popen[bytes], count: int) -> bool:
        """Wait for further parts; return whether the command still runs then."""
        target = self._finished_parts() + count
        while process.poll() is None:
            if self._finished_parts() >= target:
                return True
            time.sleep(0.02)
        return False

    def _worker(self, driver: int) -> int | None:
        found = [child for child, line in descendants(driver).items() if WORKER_NAMES[self.engine] in line]
        return self.random.choice(found) if found else None

    def _wait_for_orphans(self) -> None:
        """Wait until what a killed driver has started is gone."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and any(
            name in line for line in all_processes().values() for name in WORKER_NAMES.values()
        ):
            time.sleep(0.2)

    def _with_full_disk(self) -> str:
        """Run on a disk without space; return the last line of the message."""
        ballast = self.output.parent / "ballast"
        with ballast.open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass
        run = subprocess.run(self.command, capture_output=True, text=True, check=False)
        ballast.unlink()
        return f"status {run.returncode}: {(run.stderr.strip().splitlines() or [''])[-1]}"


def all_processes() -> dict[int, bytes]:
    """Return the command line of each process by id."""
    return dict(_processes())


def _processes() -> Iterator[tuple[int, bytes]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue


def descendants(process: int) -> dict[int, bytes]:
    """Return the command lines of the processes that `process` has started, directly or not."""
    lines = all_processes()
    parents = {}
    for child in lines:
        try:
            parents[child] = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: lines[child] for child in found - {process}}


def make_images(folder: Path, count: int) -> None:
    """Write small images of colored blocks; every hundredth is damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index:06d}.png"
        if index % DAMAGED_EVERY == 0:
            path.write_bytes(b"damaged")
        else:
            blocks = numbers.integers(0, 255, (3, 4, 3), dtype=np.uint8)
            Image.fromarray(blocks.repeat(16, axis=0).repeat(16, axis=1)).save(path)


def save_small_nano(path: Path) -> None:
    """Save nano with a test resolution of 64 pixels, at which an image takes a fraction of the time."""
    from ovrcoat.checkpoints import native
    from ovrcoat.checkpoints.catalog import embedded_path

    nano = native.load(embedded_path())
    inference = nano.config.inference.model_copy(update={"short_side": 64, "max_long_side": 96})
    native.save(
        path,
        nano.network,
        config=nano.config.model_copy(update={"inference": inference}),
        training_vocabulary=nano.training_vocabulary,
        provenance=nano.provenance,
    )


def count(output: Path, photos: Path) -> dict[str, object]:
    """Count the rows of all files by id, without ovrcoat."""
    rows = {
        name: Counter(
            Path(id).name
            for path in (output / name).glob("*.parquet")
            for id in pq.read_table(path, columns=["id"]).column("id").to_pylist()
        )
        for name in ("images", "quarantine")
    }
    expected = sorted(path.name for path in photos.iterdir())
    damaged = {name for name in expected if int(Path(name).stem) % DAMAGED_EVERY == 0}
    total = rows["images"] + rows["quarantine"]
    return {
        "images": rows["images"].total(),
        "quarantined": rows["quarantine"].total(),
        "missing": [name for name in expected if not total[name]],
        "doubled": [name for name, times in total.items() if times > 1],
        "in_the_wrong_table": [name for name in rows["images"] if name in damaged]
        + [name for name in rows["quarantine"] if name not in damaged],
    }


if __name__ == "__main__":
    sys.exit(main())
