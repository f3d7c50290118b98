"""Measure time and memory of scoring panoptic quality on synthetic images of COCO's size (640 × 427).

    python benchmarks/scoring.py [--images 1000] [--repeats 5] [--folder FOLDER]

Printed are three times per pair of images: decoding the PNG files alone (Pillow, one after the other),
`score_panoptic` with all of its checks, and a plain NumPy implementation of the metric. Then follow their
ratios, and the peak memory of scoring a tenth of the images and all of them (Linux). The three are measured
in turns, and medians are reported, because other processes may slow down any of them. Creating the images is
not timed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ovrcoat.evaluation.scoring.panoptic import score_panoptic
from ovrcoat.formats.panoptic_json import PanopticSource

WIDTH, HEIGHT = 640, 427
CATEGORIES = [{"id": id, "name": f"category {id}", "isthing": int(id <= 80)} for id in range(1, 134)]
VOID, OFFSET = 0, 256**3


def main() -> None:
    """Create the images, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, help="keep the images here for another run [default: a temporary folder]"
    )
    parser.add_argument("--score-only", help=argparse.SUPPRESS)  # in a process of its own: its peak memory
    arguments = parser.parse_args()
    if arguments.score_only is not None:
        score(arguments.folder, arguments.score_only)
        # not getrusage: a child inherits the peak of its parent
        status = Path("/proc/self/status").read_text()  # Linux
        print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "truth.json").exists():
            make_images(folder, count=arguments.images)
        measure(folder, count=arguments.images, repeats=arguments.repeats)


def measure(folder: Path, *, count: int, repeats: int) -> None:
    """Time all three in turns; print medians, ratios and memory."""
    contenders: dict[str, Callable[[Path], object]] = {
        "decoding alone": decode,
        "ovrcoat score, all checks": lambda place: score(place, ""),
        "plain NumPy": plain,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            started = time.perf_counter()
            run(folder)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{count} pairs of {WIDTH} × {HEIGHT}, {os.cpu_count()} processors, median of {repeats}")
    for name, median in medians.items():
        print(f"{name:28s} {1000 * median / count:7.2f} ms per pair")
    decoding, ours, plainly = medians.values()
    print(f"score / decoding {ours / decoding:.2f} (target: at most 1.3)")
    print(f"plain / score    {plainly / ours:.2f} (target: at least 5)")
    figures = score(folder, "")["groups"]["All"]["pq"], plain(folder)
    print(f"PQ {figures[0]:.12f}, plain {figures[1]:.12f}")
    for part, name in ((count // 10, "-tenth"), (count, "")):
        print(f"peak memory, {part:5d} pairs: {peak_memory(folder, name):.0f} MiB")


def score(folder: Path, part: str) -> dict[str, Any]:
    """Score with this package."""
    return score_panoptic(
        PanopticSource(folder / f"truth{part}.json", folder / "truth"),
        PanopticSource(folder / f"prediction{part}.json", folder / "prediction"),
    )


def decode(folder: Path) -> None:
    """Decode every PNG file, one after the other."""
    for entry in json.loads((folder / "truth.json").read_text())["annotations"]:
        for side in ("truth", "prediction"):
            with Image.open(folder / side / entry["file_name"]) as image:
                np.asarray(image)


def plain(folder: Path) -> float:
    """Compute PQ over all categories with a direct NumPy implementation (sorted pixels, dictionaries)."""
    truth = json.loads((folder / "truth.json").read_text())["annotations"]
    prediction = json.loads((folder / "prediction.json").read_text())["annotations"]
    found = {entry["image_id"]: entry for entry in prediction}
    sums = {category["id"]: [0.0, 0, 0, 0] for category in CATEGORIES}  # IoU, TP, FP, FN
    for entry in truth:
        other = found[entry["image_id"]]
        true_ids = colors_to_ids(folder / "truth" / entry["file_name"])
        predicted_ids = colors_to_ids(folder / "prediction" / other["file_name"])
        true_segments = {segment["id"]: segment for segment in entry["segments_info"]}
        segments = {segment["id"]: dict(segment) for segment in other["segments_info"]}
        for id, area in zip(*np.unique(predicted_ids, return_counts=True), strict=True):
            if id != VOID:
                segments[id]["area"] = area
        pixels, counts = np.unique(
            true_ids.astype(np.uint64) * OFFSET + predicted_ids.astype(np.uint64), return_counts=True
        )
        common = {
            (pixel // OFFSET, pixel % OFFSET): count for pixel, count in zip(pixels, counts, strict=True)
        }
        count_image(true_segments, segments, common, sums)
    counted = [values for values in sums.values() if sum(values[1:])]
    return sum(iou / (tp + 0.5 * fp + 0.5 * fn) for iou, tp, fp, fn in counted) / len(counted)


def count_image(
    true_segments: dict[int, Any],
    segments: dict[int, Any],
    common: dict[tuple[int, int], int],
    sums: dict[int, list[float]],
) -> None:
    """Add one image to the sums of `plain`."""
    matched, used = set(), set()
    for (true_id, predicted_id), intersection in common.items():
        if true_id not in true_segments or predicted_id not in segments:
            continue
        true_segment, segment = true_segments[true_id], segments[predicted_id]
        if true_segment["iscrowd"] or true_segment["category_id"] != segment["category_id"]:
            continue
        union = segment["area"] + true_segment["area"] - intersection - common.get((VOID, predicted_id), 0)
        if intersection / union > 0.5:
            sums[segment["category_id"]][0] += intersection / union
            sums[segment["category_id"]][1] += 1
            matched.add(true_id)
            used.add(predicted_id)
    crowds = {}
    for id, segment in true_segments.items():
        if segment["iscrowd"]:
            crowds[segment["category_id"]] = id
        elif id not in matched:
            sums[segment["category_id"]][3] += 1
    for id, segment in segments.items():
        if id not in used:
            excused = common.get((VOID, id), 0) + common.get((crowds.get(segment["category_id"], -1), id), 0)
            sums[segment["category_id"]][2] += excused / segment["area"] <= 0.5


def colors_to_ids(path: Path) -> np.ndarray:
    """Return R + 256 G + 65536 B of every pixel."""
    rgb = np.array(Image.open(path), dtype=np.uint32)
    return rgb[:, :, 0] + 256 * rgb[:, :, 1] + 65536 * rgb[:, :, 2]


def peak_memory(folder: Path, part: str) -> float:
    """Return the peak memory of a new process that scores, in MiB."""
    command = [sys.executable, __file__, f"--score-only={part}", "--folder", str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def make_images(folder: Path, *, count: int) -> None:
    """Write ground truth with irregular regions, and predictions with slightly different regions."""
    random = np.random.default_rng(0)
    documents: dict[str, dict[str, Any]] = {
        "truth": {"images": [], "categories": CATEGORIES, "annotations": []},
        "prediction": {"annotations": []},
    }
    for side in documents:
        (folder / side).mkdir(parents=True, exist_ok=True)
    for image_id in range(1, count + 1):
        regions = random.integers(8, 25)
        shapes = [smooth(random, size=(5, 7)) + 0.05 * smooth(random, size=(60, 90)) for _ in range(regions)]
        shapes[0] *= 0.6  # void fills the gaps between regions
        ids = np.concatenate([[0], random.choice(np.arange(1, OFFSET), regions - 1, replace=False)])
        categories = random.integers(1, 134, regions)
        drawn = {"truth": np.argmax(shapes, axis=0)}
        off = [shape + 0.15 * smooth(random, size=(20, 30)) for shape in shapes]
        drawn["prediction"] = np.argmax(off, axis=0)
        for side, positions in drawn.items():
            areas = np.bincount(positions.ravel(), minlength=regions)
            segments = [
                {"id": int(ids[place]), "category_id": int(categories[place]), "iscrowd": 0}
                | {"area": int(areas[place]), "bbox": [0, 0, 1, 1]}
                for place in range(1, regions)
                if areas[place]
            ]
            name = f"{image_id:012d}.png"
            write_ids(ids[positions], folder / side / name)
            documents[side]["annotations"].append(
                {"image_id": image_id, "file_name": name, "segments_info": segments}
            )
    for side, document in documents.items():
        tenth = document | {"annotations": document["annotations"][: count // 10]}
        (folder / f"{side}.json").write_text(json.dumps(document))
        (folder / f"{side}-tenth.json").write_text(json.dumps(tenth))


def smooth(random: np.random.Generator, *, size: tuple[int, int]) -> np.ndarray:
    """Return random numbers on a coarse grid, interpolated to the image size."""
    coarse = Image.fromarray(random.standard_normal(size).astype(np.float32))
    return np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def write_ids(ids: np.ndarray, path: Path) -> None:
    """Write ids as a PNG in COCO's panoptic format."""
    Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
