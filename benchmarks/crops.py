"""Compare mask pooling with crops: quality, time and memory.

    python benchmarks/crops.py DATA [--model nano] [--held-out 0.1] [--limit 50] [--threads 1]

DATA is a folder of labeled images (docs/datasets.md) with panoptic ground truth. Each method runs in a
process of its own, and prints one row:

* PQ of the model's masks, without background classes, at γ = 0, 0.5 and adaptive; mIoU at γ = 0
* accuracy: share of the ground-truth masks whose best class, by CLIP alone, is the right one
* CPU seconds per image: median of encoding and panoptic output for the first images
* peak memory: of the whole process
"""

import argparse
import statistics
import time
from typing import Any

import torch
from machine import describe, peak_memory
from models import load
from processes import own_process

from ovrcoat.choices import Trust
from ovrcoat.data.catalog import open_dataset
from ovrcoat.evaluation.evaluator import evaluate
from ovrcoat.evaluation.plan import EvaluationSettings, make_plan

TIMED_IMAGES = 5
TRUSTS: tuple[Trust, ...] = (0.0, 0.5, "adaptive")
METHODS = ("pooling", "crops", "masked-crops")


def dataset_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options of a benchmark that evaluates a model on a dataset."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--held-out", type=float)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def main() -> None:
    """Measure every method and print a table."""
    arguments = vars(dataset_parser(__doc__).parse_args())
    print("\n".join(f"{name}: {value}" for name, value in describe().items()))
    pq_titles = " | ".join(f"PQ, γ {trust}" for trust in TRUSTS)
    print(f"\n| method | images | {pq_titles} | mIoU | accuracy | CPU seconds per image | peak memory |")
    print(f"|{'---|' * (6 + len(TRUSTS))}")
    for method in METHODS:
        found = own_process("crops.measure", method=method, **arguments)
        print(
            f"| {method} | {found['images']} | {' | '.join(found['pq'])} | {found['miou']:.1f} "
            f"| {100 * found['accuracy']:.1f} % of {found['masks']} | {found['seconds']:.2f} "
            f"| {found['memory'] / 2**20:,.0f} MB |"
        )


def measure(
    method: str, data: str, model: str, *, held_out: float | None, limit: int | None, threads: int
) -> dict[str, Any]:
    """Return quality, time and memory of a method."""
    torch.set_num_threads(threads)
    segmenter = load(model).with_settings(classify_by=method)
    dataset = open_dataset(data)
    settings = EvaluationSettings(
        trusts=TRUSTS,
        tasks=("panoptic", "semantic"),
        held_out=held_out,
        limit=limit,
        protocol="model",
    )
    plan = make_plan(segmenter, dataset, settings=settings)
    prompt = plan.segmenter.prompt(plan.vocabulary, background="none")
    seconds, correct = [], []
    for index, record in enumerate(plan.records):
        image, truth = dataset.image(record), dataset.panoptic(record)
        if index < TIMED_IMAGES:
            began = time.process_time()
            plan.segmenter.encode(image).predict(prompt)
            seconds.append(time.process_time() - began)
        segments = [segment for segment in truth.segments if not segment.is_crowd]
        masks = [truth.id_map == segment.id for segment in segments]
        labels = plan.segmenter.classify_masks(image, masks, plan.vocabulary, background="none")
        correct += [
            label.category_id == segment.category_id for label, segment in zip(labels, segments, strict=True)
        ]
    memory = peak_memory()
    runs = evaluate(segmenter, dataset, settings=settings).runs
    return {
        "images": len(plan.records),
        "pq": [f"{100 * run.panoptic.groups['All'].pq:.1f}" for run in runs],
        "miou": runs[0].semantic.mean_iou,
        "accuracy": statistics.mean(correct),
        "masks": len(correct),
        "seconds": statistics.median(seconds),
        "memory": memory,
    }


if __name__ == "__main__":
    main()
