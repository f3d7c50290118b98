"""Throughput and memory of `ovrcoat batch`: one worker against two, and memory over many images.

    python benchmarks/batch.py workers FOLDER --images 120
    python benchmarks/batch.py memory FOLDER --images 20000 --engine ray

`workers` segments images of 640 × 480 pixels with nano. Each number is the rate between the first and the
last finished part, so that the start does not count. `memory` segments small images with nano at a test
resolution of 64 pixels, and reads the memory of the command and of all processes that it has started (Linux).
"""

import json
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
from batch_faults import descendants, save_small_nano
from PIL import Image

VOCABULARY = "cat; dog; person; car; tree#stuff; sky#stuff"


def main() -> None:
    """Run one measurement and print it as JSON."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("measurement", choices=("workers", "memory"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    options = parser.parse_args()
    measure = workers if options.measurement == "workers" else memory
    print(json.dumps(measure(options), indent=2))


def workers(options: Namespace) -> dict[str, object]:
    """Return the images per second of one and of two workers."""
    photos = options.folder / "photos-480"
    make_images(photos, options.images, size=(480, 640))
    rates = {}
    for count in (1, 2):
        output = options.folder / f"workers-{options.engine}-{count}"
        subprocess.run(command(photos, output, options.engine, workers=count, per_file=4), check=True)
        times = sorted(path.stat().st_mtime for path in (output / "images").glob("*.parquet"))
        if options.engine == "ray":  # its files are published at the end; the checkpoint shows the progress
            times = sorted(path.stat().st_mtime for path in (output / "ray" / "checkpoint").glob("*.parquet"))
        rates[count] = 4 * (len(times) - 1) / (times[-1] - times[0])
    return {"engine": options.engine, "images_per_second": rates, "two_over_one": rates[2] / rates[1]}


def memory(options: Namespace) -> dict[str, object]:
    """Return the memory in MiB after each twentieth of the images."""
    photos, model = options.folder / "photos-48", options.folder / "small.safetensors"
    make_images(photos, options.images, size=(48, 64))
    save_small_nano(model)
    output = options.folder / f"memory-{options.engine}"
    run = command(photos, output, options.engine, workers=2, per_file=100)
    process = subprocess.Popen([*run, "--model", str(model)])
    parts, samples = options.images // 100, {}
    step = max(1, parts // 20)
    while process.poll() is None:
        folder = output / ("ray/checkpoint" if options.engine == "ray" else "images")
        done = len([path for path in folder.glob("*.parquet") if "pending" not in path.name])
        if done and done % step == 0 and done * 100 not in samples:
            samples[done * 100] = round(tree_memory(process.pid) / 2**20)
        time.sleep(0.1)
    return {"engine": options.engine, "status": process.returncode, "mib_after_images": samples}


def command(photos: Path, output: Path, engine: str, *, workers: int, per_file: int) -> list[str]:
    """Return the command line of a run."""
    return [
        *(sys.executable, "-m", "ovrcoat", "batch", str(photos), "--output", str(output), "--device", "cpu"),
        *("--vocabulary", VOCABULARY, "--engine", engine, "--workers", str(workers), "--quiet"),
        *("--images-per-file", str(per_file)),
    ]


def tree_memory(process: int) -> int:
    """Return the proportional memory in bytes of a process and of all processes that it has started."""
    total = 0
    for member in (process, *descendants(process)):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


def make_images(folder: Path, count: int, *, size: tuple[int, int]) -> None:
    """Write images of smooth random colors."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(numbers.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(folder / f"{index:06d}.jpg", quality=90)


if __name__ == "__main__":
    main()
