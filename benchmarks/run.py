"""Measure time, memory and operations on this machine and write one page (docs/benchmarks.md).

    python benchmarks/run.py [--model convnext_large_d_320] [--size 1199 800] [--only image merge]
                             [--dtype float32 bfloat16] [--data LABELED_IMAGES]
                             [--full] [--markdown docs/benchmarks.md]

--model is nano, a checkpoint, or an architecture, which gets random weights (the computation is the same as
with trained ones). --size is the width and height of the network input. By default, architectures get
1199 × 800, the size to which COCO's images of 640 × 427 are resized; other models get an image of 640 × 480
and their own settings. Everything runs on the CPU, each measurement in a process of its own. Absolute times
depend on the machine; compare ratios.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import sections
from machine import DTYPES, MatrixRate, describe
from models import is_random
from processes import MeasurementError, own_process
from report import rate, section, table
from request import Run

PUBLISHED_INPUT = (1199, 800)
FRAME = """# Benchmarks

This page reports time, memory and operation counts of ovrcoat on one CPU machine. It is the output of
`python benchmarks/run.py --markdown docs/benchmarks.md`; no number is entered by hand.

Absolute times depend on the machine, so compare the ratios. The most important ratio is “× limit”: the
measured time divided by the time that the same operations take as plain matrix products, measured in the same
run. All measurements run on the CPU, each in a separate process.

| option | effect |
| --- | --- |
| `--model nano`, or a checkpoint | measure another model |
| `--size WIDTH HEIGHT` | use another network input size |
| `--only image merge` | run only the named sections |
| `--full` | add measurements that take long |
| `--data FOLDER` | measure the effect of bfloat16 on the results, with labeled images |
"""


def main(arguments: list[str]) -> int:
    """Measure, print and write the page; return 1 if a section failed."""
    options = _parser().parse_args(arguments)
    matrix_rate = MatrixRate(options.dtype, seconds=options.rate_seconds)
    pages, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OVRCOAT_CACHE"] = str(Path(folder) / "cache")  # not the user's cache
        run = _prepare(options, matrix_rate, Path(folder))
        for name in options.only:
            matrix_rate.sample()
            try:
                pages.append(sections.SECTIONS[name](run))
            except MeasurementError as error:
                failed.append(name)
                pages.append(section(name, f"Failed: {error}"))
            print(pages[-1], flush=True)
    matrix_rate.sample()
    machine = _machine(matrix_rate)
    print(machine)
    if options.markdown:
        options.markdown.write_text("\n".join([FRAME, machine, *pages]), encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _prepare(options: argparse.Namespace, matrix_rate: MatrixRate, folder: Path) -> Run:
    """Return the options for the sections; write a checkpoint for an architecture."""
    checkpoint, size = options.model, options.size
    if is_random(options.model):
        checkpoint = str(folder / f"{options.model}.safetensors")
        own_process("models.write_random", model=options.model, path=checkpoint)
        size = size or PUBLISHED_INPUT
    return Run(
        model=options.model,
        checkpoint=checkpoint,
        size=tuple(size) if size else None,
        dtypes=tuple(options.dtype),
        full=options.full,
        repeats=options.repeats,
        rate=matrix_rate,
        folder=folder,
        data=options.data,
    )


def _machine(matrix_rate: MatrixRate) -> str:
    """Return the section about the machine."""
    rows = [
        [f"matrix products, {dtype}", *map(rate, matrix_rate.spread(dtype)), len(samples)]
        for dtype, samples in matrix_rate.samples.items()
    ]
    return section(
        "Machine",
        "\n".join(f"- {what}: {value}" for what, value in describe().items()),
        table(["over the whole run", "minimum", "median", "maximum", "samples"], rows),
        "Samples far below the maximum show that other processes used the machine.",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="convnext_large_d_320", metavar="NAME|FILE")
    parser.add_argument("--size", nargs=2, type=int, metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--only", nargs="+", choices=sections.SECTIONS, default=list(sections.SECTIONS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--full", action="store_true", help="1,000 images to score, 10,000 to segment; large training steps"
    )
    parser.add_argument("--rate-seconds", type=float, default=1.0, help="for each matrix product")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="labeled images, for the section dtype")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
