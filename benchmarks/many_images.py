"""Measure many images from files to files: throughput with and without overlap, and memory over time.

    python benchmarks/many_images.py [--images 200] [--model nano] [--batch-size 1] [--dtype auto]
        [--folder IMAGES] [--repeats 1] [--variant overlapping|one-by-one] [--short-side 64]

Synthetic images of mixed sizes, or the images of a folder, are repeated and run through
`Segmenter.segment_many` and `RunWriter` into a temporary folder. Two variants run in turns, each in a process
of its own: "one-by-one" runs one step after the other, "overlapping" reads and writes in threads while the
network runs. Reported are the resident memory after 10 %, 50 % and 100 % of the images (Linux) and the peak
until then. `--short-side 64` makes small synthetic images of fifty sizes, so that ten thousand of them take
minutes only; memory must stay flat.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from machine import peak_memory, resident_memory
from models import VOCABULARY, load, make_image
from PIL import Image

from ovrcoat.data.find_images import find_images
from ovrcoat.results.writers import RunWriter
from ovrcoat.vocabulary import Vocabulary

SIZES = ((640, 480), (480, 640), (640, 427), (640, 480), (1600, 1200), (500, 375))  # width, height
STAGES = (0.1, 0.5, 1.0)
WARM_UP = 3  # images before the measurement starts: first calls allocate memory and choose kernels


def main() -> None:
    """Run both variants (or one) and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument(
        "--short-side", type=int, help="short side of synthetic images and of the network input"
    )
    parser.add_argument("--folder", help="folder of images [default: synthetic images]")
    parser.add_argument(
        "--repeats", type=int, default=1, help="runs of each variant, in turns; the best is reported"
    )
    parser.add_argument("--variant", choices=("overlapping", "one-by-one"), help="run only this variant")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(run(arguments)))
        return
    variants = [arguments.variant] if arguments.variant else ["one-by-one", "overlapping"]
    best: dict[str, dict[str, Any]] = {}
    for _ in range(arguments.repeats):
        for variant in variants:
            found = measure_in_new_process(variant)
            if variant not in best or found["seconds"] < best[variant]["seconds"]:
                best[variant] = found
    report(best, images=arguments.images)


def report(best: dict[str, dict[str, Any]], *, images: int) -> None:
    """Print throughput and memory, and the ratio of the two variants."""
    for variant, found in best.items():
        print(f"{variant}: {images / found['seconds']:.2f} images per second ({found['seconds']:.1f} s)")
        for stage, resident, peak in found["memory"]:
            print(f"  after {stage:4.0%}: {resident / 1e6:6.0f} MB resident, {peak / 1e6:6.0f} MB peak")
    if len(best) == 2:
        quotient = best["one-by-one"]["seconds"] / best["overlapping"]["seconds"]
        print(f"overlapping is {quotient:.2f} times as fast")


def measure_in_new_process(variant: str) -> dict[str, Any]:
    """Measure one variant in a new process, so that its memory is not mixed with the other's."""
    command = [sys.executable, __file__, *sys.argv[1:], "--variant", variant, "--here"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return seconds for all images, and (stage, resident bytes, peak bytes) after some of them."""
    segmenter = load(arguments.model, dtype=arguments.dtype)
    if arguments.short_side:
        segmenter = segmenter.with_settings(
            short_side=arguments.short_side, max_long_side=2 * arguments.short_side
        )
    vocabulary = Vocabulary.read(VOCABULARY)
    with tempfile.TemporaryDirectory() as place:
        if arguments.folder:
            originals = find_images(arguments.folder)
        else:
            originals = make_images(Path(place), short_side=arguments.short_side)
        images = list(islice(cycle(originals), arguments.images))
        # with an iterator instead of a list, nothing is prefetched
        overlapping = arguments.variant == "overlapping"
        sources = images if overlapping else iter(images)
        for image in originals[:WARM_UP]:
            segmenter.segment(image, vocabulary)
        stages = dict(zip((max(1, round(stage * len(images))) for stage in STAGES), STAGES, strict=False))
        memory = []
        with RunWriter(Path(place) / "out", task="panoptic", categories=vocabulary.categories) as writer:
            results = watched(
                segmenter.segment_many(sources, vocabulary, batch_size=arguments.batch_size), stages, memory
            )
            began = time.perf_counter()
            if overlapping:
                writer.add_all(results)
            else:
                for result in results:
                    writer.add(result)
            seconds = time.perf_counter() - began
    return {"seconds": seconds, "memory": memory}


def watched(pairs: Iterator[Any], stages: dict[int, float], memory: list[Any]) -> Iterator[Any]:
    """Yield the results of (source, result) pairs, and record the memory after some of them."""
    for count, (_, result) in enumerate(pairs, start=1):
        yield result
        if count in stages:
            memory.append((stages[count], resident_memory(), peak_memory()))


def make_images(folder: Path, *, short_side: int | None) -> tuple[Path, ...]:
    """Write one JPEG per entry of `SIZES`, or fifty small ones of different sizes."""
    sizes = SIZES if short_side is None else [(short_side + extra, short_side) for extra in range(50)]
    paths = tuple(folder / f"{number}.jpg" for number in range(len(sizes)))
    for path, size in zip(paths, sizes, strict=True):
        Image.fromarray(make_image(*size)).save(path, quality=90)
    return paths


if __name__ == "__main__":
    main()
