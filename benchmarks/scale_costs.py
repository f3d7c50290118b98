"""What millions of images cost: the steps around the network measured, the rest computed.

    python benchmarks/scale_costs.py PHOTO... --tflop 1.66 --peak 312 --utilization 0.3

Measures with nano, per photo: the processor time of decoding and resizing, that of making and compressing
rows, and the bytes of the rows. The rest is arithmetic from the options: operations per image in TFLOP (see
docs/benchmarks.md), peak of one accelerator in TFLOP/s, and the share of it that is reached. Prints Markdown.
"""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean

from ovrcoat.batch.item import Item
from ovrcoat.batch.rows import Row, predict_rows
from ovrcoat.batch.schema import image_schema, parquet_bytes
from ovrcoat.data.images import read_image
from ovrcoat.data.transforms import prepare
from ovrcoat.segmentation.segmenter import Segmenter

REPEATS = 5
VOCABULARY = "coco"


def main() -> None:
    """Measure, compute and print."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--tflop", type=float, required=True, help="operations per image")
    parser.add_argument("--peak", type=float, required=True, help="TFLOP/s of one accelerator")
    parser.add_argument("--utilization", type=float, required=True, help="share of the peak, 0 to 1")
    options = parser.parse_args()
    print_measured(measured := measure(options.photos))
    print_computed(measured, options)


def measure(photos: list[Path]) -> dict[str, float]:
    """Return milliseconds of processor time and bytes, each a mean over the photos."""
    segmenter = Segmenter.load("nano", device="cpu")
    prompt = segmenter.prompt(VOCABULARY)
    items = [Item(str(path), str(path)) for path in photos]

    def rows(**columns: bool) -> list[Row]:
        found = predict_rows(segmenter, prompt, items, hashes={"model": "", "vocabulary": ""}, **columns)
        return [row for row in found if isinstance(row, dict)]

    def nbytes(content: list[Row]) -> float:
        return len(parquet_bytes(content, image_schema())) / len(content)

    plain = rows()
    encoded = [encoded for _, encoded in segmenter.encode_many(photos) if not isinstance(encoded, Exception)]
    predicting = mean(processor_time(partial(image.predict, prompt)) for image in encoded)
    with_rows = processor_time(rows) / len(photos)
    encoding = processor_time(lambda: list(segmenter.encode_many(photos))) / len(photos)
    return {
        "bytes of a photo": mean(path.stat().st_size for path in photos),
        "decode": mean(processor_time(partial(read_image, path)) for path in photos),
        "decode and resize": mean(processor_time(partial(read_and_resize, path)) for path in photos),
        "run lengths of the segments": with_rows - encoding - predicting,
        "Parquet": processor_time(lambda: parquet_bytes(plain, image_schema())) / len(photos),
        "bytes of a row": nbytes(plain),
        "bytes of a row with --embeddings": nbytes(rows(embeddings=True)),
        "bytes of a row with --png": nbytes(rows(png=True)),
        "segments": mean(len(row["segments"]) for row in plain),
    }


def read_and_resize(path: Path) -> None:
    """Read a photo at the test resolution of the published models."""
    prepare(read_image(path), short_side=800, max_long_side=1333, stride=32)


def processor_time(work: Callable[[], object]) -> float:
    """Return the shortest processor time of several runs in milliseconds, over all threads."""
    times = []
    for _ in range(REPEATS):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return 1000 * min(times)


def print_measured(measured: dict[str, float]) -> None:
    """Print the table of measurements."""
    print("| per image | measured |\n| --- | --: |")
    for name, value in measured.items():
        unit = "" if name == "segments" else " bytes" if name.startswith("bytes") else " ms"
        print(f"| {name} | {value:,.1f}{unit} |" if unit != " bytes" else f"| {name} | {value:,.0f} |")


def print_computed(measured: dict[str, float], options: Namespace) -> None:
    """Print what follows for one accelerator, a million and a billion images."""
    rate = options.peak * options.utilization / options.tflop  # images per second of one accelerator
    around = ("decode and resize", "run lengths of the segments", "Parquet")
    cores = rate * sum(measured[name] for name in around) / 1000
    hours = 1e6 / rate / 3600
    rows = [
        ("accelerator hours", f"{rate:.0f} images/s", f"{hours:,.1f}", f"{1000 * hours:,.0f}"),
        ("core hours", f"{cores:.2f} cores busy", f"{cores * hours:,.1f}", f"{1000 * cores * hours:,.0f}"),
    ]
    sizes = {"photos read": measured["bytes of a photo"], "rows written": measured["bytes of a row"]}
    for name, size in sizes.items():
        rows.append((name, f"{rate * size / 1e6:.2f} MB/s", f"{size / 1e3:,.1f} GB", f"{size / 1e3:,.1f} TB"))
    print("\n| | one accelerator | a million images | a billion images |\n| --- | --: | --: | --: |")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
