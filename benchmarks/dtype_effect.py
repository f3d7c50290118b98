"""Measure the effect of bfloat16 on panoptic maps and on panoptic quality.

    python benchmarks/dtype_effect.py DATA [--model nano] [--limit 50]

DATA is a folder of labeled images (docs/datasets.md) or the name of a dataset. Every image is segmented in
float32 and in bfloat16. A pixel counts as equal if both maps assign it to the same segment, or if both assign
it to none. Segments of the two maps are paired by category and overlap.
"""

import argparse
from dataclasses import replace

import numpy as np
from models import load
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from ovrcoat import Segmenter
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.evaluation.evaluator import evaluate
from ovrcoat.evaluation.plan import EvaluationSettings, make_plan
from ovrcoat.results import PanopticResult


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--root", help="root folder of the datasets, if DATA is a name")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--trust", type=float, default=0.5)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data, root=arguments.root)
    settings = EvaluationSettings(trusts=(arguments.trust,), limit=arguments.limit)
    exact, rounded = load(arguments.model), load(arguments.model, dtype="bfloat16")
    shares = equal_shares(exact, rounded, dataset, settings=settings)
    print(f"{arguments.model} on {len(shares)} images of {dataset.name}, γ {arguments.trust:g}")
    print(
        f"equal pixels: mean {100 * np.mean(shares):.3f} %, median {100 * np.median(shares):.3f} %, minimum "
        f"{100 * min(shares):.2f} %; all pixels equal on {np.mean(np.equal(shares, 1)):.0%} of the images"
    )
    for group, (one, other) in qualities(exact, rounded, dataset, settings=settings).items():
        print(f"PQ {group:7} float32 {one:6.2f}   bfloat16 {other:6.2f}   difference {other - one:+.2f}")


def equal_shares(
    exact: Segmenter, rounded: Segmenter, dataset: Dataset, *, settings: EvaluationSettings
) -> list[float]:
    """Return the share of equal pixels of each image, at the input size of the evaluation."""
    plan = make_plan(exact, dataset, settings=settings)
    other = make_plan(rounded, dataset, settings=settings).segmenter
    (trust,) = settings.trusts
    shares = []
    for record in tqdm(plan.records, disable=None):
        image = dataset.image(record)
        one, two = (
            segmenter.segment(image, plan.vocabulary, trust=trust, background="none")
            for segmenter in (plan.segmenter, other)
        )
        shares.append(equal_share(one, two))
    return shares


def equal_share(one: PanopticResult, other: PanopticResult) -> float:
    """Return the share of pixels in paired segments, or in no segment of both maps."""
    counts = np.zeros((len(one.segments) + 1, len(other.segments) + 1), np.int64)
    np.add.at(counts, (one.id_map.ravel(), other.id_map.ravel()), 1)
    void = counts[0, 0]
    same = np.equal.outer(
        [segment.category_id for segment in one.segments], [segment.category_id for segment in other.segments]
    )
    shared = np.where(same.reshape(counts[1:, 1:].shape), counts[1:, 1:], 0)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    return float((void + shared[rows, columns].sum()) / counts.sum())


def qualities(
    exact: Segmenter, rounded: Segmenter, dataset: Dataset, *, settings: EvaluationSettings
) -> dict[str, tuple[float, float]]:
    """Return PQ in percent by group of categories: (float32, bfloat16)."""
    found = []
    for segmenter in (exact, rounded):
        (run,) = evaluate(segmenter, dataset, settings=replace(settings, tasks=("panoptic",))).runs
        assert run.panoptic is not None
        found.append(run.panoptic.groups)
    one, other = found
    return {
        name: (100 * group.pq, 100 * other[name].pq)
        for name, group in one.items()
        if group.pq is not None and other[name].pq is not None
    }


if __name__ == "__main__":
    main()
