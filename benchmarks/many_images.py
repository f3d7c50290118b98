"""Many images from files to files: images per second with and without overlap, and memory on the way.

    python benchmarks/many_images.py [--images 200] [--model nano] [--batch-size 1] [--dtype auto]
        [--folder PHOTOS] [--repeats 1] [--way overlapping|one-by-one] [--short-side 64]

Copies of a few images of mixed sizes (or those of PHOTOS, over and over) go through `Segmenter.segment_many`
and `RunWriter` into a temporary folder: one step after the other, and with reading and writing in threads
beside the network; in turns, each in a process of its own. Memory is what the process holds after 10 %,
50 % and 100 % of the images (Linux), and the most that it held until then. With --short-side 64, say, the
made-up images are as small and of fifty sizes: ten thousand of them take some minutes, to see that memory
stays flat.
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
from models import WORDS, load, make_image
from PIL import Image

from ovrcoat.data.images import find_images
from ovrcoat.results.writers import RunWriter
from ovrcoat.vocabulary import Vocabulary

SIZES = ((640, 480), (480, 640), (640, 427), (640, 480), (1600, 1200), (500, 375))  # width, height
STAGES = (0.1, 0.5, 1.0)
WARM_UP = 3  # images before the clock starts: first calls allocate and choose kernels


def main() -> None:
    """Run both ways (or one), print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--short-side", type=int, help="of made-up images and what the network sees")
    parser.add_argument("--folder", help="images of yours [default: made-up ones]")
    parser.add_argument("--repeats", type=int, default=1, help="of each way, in turns; the best counts")
    parser.add_argument("--way", choices=("overlapping", "one-by-one"), help="only this one")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(run(arguments)))
        return
    ways = [arguments.way] if arguments.way else ["one-by-one", "overlapping"]
    best: dict[str, dict[str, Any]] = {}
    for _ in range(arguments.repeats):
        for way in ways:
            found = in_a_process_of_its_own(way)
            if way not in best or found["seconds"] < best[way]["seconds"]:
                best[way] = found
    report(best, images=arguments.images)


def report(best: dict[str, dict[str, Any]], *, images: int) -> None:
    """The table, and the quotient."""
    for way, found in best.items():
        print(f"{way}: {images / found['seconds']:.2f} images per second ({found['seconds']:.1f} s)")
        for stage, resident, peak in found["memory"]:
            print(f"  after {stage:4.0%}: {resident / 1e6:6.0f} MB resident, {peak / 1e6:6.0f} MB peak")
    if len(best) == 2:
        quotient = best["one-by-one"]["seconds"] / best["overlapping"]["seconds"]
        print(f"overlapping is {quotient:.2f} times as fast")


def in_a_process_of_its_own(way: str) -> dict[str, Any]:
    """The figures of one way: memory of the other would stand in them."""
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--here"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds for all images, and (stage, bytes held, most bytes held) on the way."""
    segmenter = load(arguments.model, dtype=arguments.dtype)
    if arguments.short_side:
        segmenter = segmenter.with_settings(
            short_side=arguments.short_side, max_long_side=2 * arguments.short_side
        )
    words = Vocabulary.read(WORDS)
    with tempfile.TemporaryDirectory() as place:
        if arguments.folder:
            originals = find_images(arguments.folder)
        else:
            originals = make_images(Path(place), short_side=arguments.short_side)
        images = list(islice(cycle(originals), arguments.images))
        # an iterator is asked for an image when it is needed: no reading ahead
        overlapping = arguments.way == "overlapping"
        images = images if overlapping else iter(images)
        for image in originals[:WARM_UP]:
            segmenter.segment(image, words)
        stages = dict(zip((max(1, round(stage * len(images))) for stage in STAGES), STAGES, strict=False))
        memory = []
        with RunWriter(Path(place) / "out", task="panoptic", categories=words.categories) as writer:
            results = watched(
                segmenter.segment_many(images, words, batch_size=arguments.batch_size), stages, memory
            )
            began = time.perf_counter()
            if overlapping:
                writer.add_all(results)
            else:
                for result in results:
                    writer.add(result)
            seconds = time.perf_counter() - began
    return {"seconds": seconds, "memory": memory}


def watched(results: Iterator[Any], stages: dict[int, float], memory: list[Any]) -> Iterator[Any]:
    """The same results; memory is noted after some of them."""
    for count, result in enumerate(results, start=1):
        yield result
        if count in stages:
            memory.append((stages[count], resident_memory(), peak_memory()))


def make_images(folder: Path, *, short_side: int | None) -> tuple[Path, ...]:
    """One JPEG per entry of `SIZES`, or fifty small ones of different sizes."""
    sizes = SIZES if short_side is None else [(short_side + extra, short_side) for extra in range(50)]
    paths = tuple(folder / f"{number}.jpg" for number in range(len(sizes)))
    for path, size in zip(paths, sizes, strict=True):
        Image.fromarray(make_image(*size)).save(path, quality=90)
    return paths


if __name__ == "__main__":
    main()
