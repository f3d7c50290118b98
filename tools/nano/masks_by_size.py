"""Show which segments have no matching mask, by size and image: on training and on held-out images.

Usage: python tools/nano/masks_by_size.py path/to/datasets/coco_things [--model nano] [--limit 60]

A mask matches a segment if their IoU is above 0.5. Equal shares on training and held-out images mean that the
model is not limited by the number of images: it does not fit those that it has.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ovrcoat import Segmenter
from ovrcoat.data.catalog import open_dataset
from ovrcoat.data.dataset import Dataset
from ovrcoat.data.held_out import is_held_out
from ovrcoat.evaluation.metrics.error_analysis import GOOD_IOU, region_map
from ovrcoat.evaluation.prefetch import Sample, load_sample
from ovrcoat.formats.annotations import Record

HELD_OUT = 0.1  # of nano's training
WORST = 3  # number of images that are listed
SIZES = (0, 0.1, 0.3, 1, 3, 10, 30, 100)  # bounds, in percent of the image


def main() -> None:
    """Read the arguments and print one table for the training images and one for those held out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path, help="folder with panoptic labels that nano was trained on")
    parser.add_argument("--model", default="nano", help="name or path of the model")
    parser.add_argument("--limit", type=int, default=60, help="number of images of each kind")
    arguments = parser.parse_args()
    segmenter, dataset = Segmenter.load(arguments.model), open_dataset(arguments.dataset)
    for title, held_out in (("training images", False), ("held-out images", True)):
        records = [record for record in dataset.records if is_held_out(record.image, HELD_OUT) == held_out]
        step = max(1, len(records) // arguments.limit)
        measured = best_masks(segmenter, dataset, records[::step][: arguments.limit])
        print(f"{arguments.dataset.name}, {title}\n{table(measured)}\n\n{worst_images(measured)}\n")


def best_masks(
    segmenter: Segmenter, dataset: Dataset, records: Sequence[Record]
) -> dict[str, Float[np.ndarray, "segment 2"]]:
    """Return for each image the size (in percent of it) of its segments and the IoU of the best mask, 0..1.

    Crowds are left out.

    Raises:
        DatasetError: an image cannot be read.
    """
    measured = {}
    for record in records:
        sample = load_sample(record, dataset=dataset, panoptic=True, semantic=False)
        if not isinstance(sample, Sample):
            raise sample
        truth = sample.panoptic
        assert truth is not None  # requested
        encoded = segmenter.encode(sample.image)
        overlaps = encoded.overlaps(region_map(truth), region_count=len(truth.segments))
        sizes = 100 * overlaps.regions / truth.id_map.size
        best = overlaps.ious().max(axis=0)
        is_crowd = np.array([segment.is_crowd for segment in truth.segments], dtype=bool)
        measured[record.image] = np.stack((sizes, best), axis=1)[~is_crowd]
    return measured


def table(measured: Mapping[str, Float[np.ndarray, "segment 2"]]) -> str:
    """Format the sizes and IoUs of `best_masks` as a Markdown table."""
    segments = np.concatenate([np.empty((0, 2)), *measured.values()])
    lines = [
        "| size (% of the image) | segments | no mask | mean IoU of the best mask |",
        "|---|---|---|---|",
    ]
    bounds = [*pairwise(SIZES), (0, SIZES[-1])]
    for low, high in bounds:
        inside = segments[(segments[:, 0] > low) & (segments[:, 0] <= high)]
        if len(inside) == 0:
            continue
        without = 100 * (inside[:, 1] <= GOOD_IOU).mean()
        name = "all" if (low, high) == bounds[-1] else f"{low:g} to {high:g}"
        lines.append(f"| {name} | {len(inside)} | {without:.1f} % | {inside[:, 1].mean():.2f} |")
    return "\n".join(lines)


def worst_images(measured: Mapping[str, Float[np.ndarray, "segment 2"]]) -> str:
    """Format the images with the most segments without a mask, and the sum of the others, as a table."""
    counts = {image: int((segments[:, 1] <= GOOD_IOU).sum()) for image, segments in measured.items()}
    order = sorted(counts, key=counts.__getitem__, reverse=True)
    lines = ["| image | segments | no mask |", "|---|---|---|"]
    lines += [f"| {image} | {len(measured[image])} | {counts[image]} |" for image in order[:WORST]]
    others = order[WORST:]
    total = sum(len(measured[image]) for image in others)
    lines.append(f"| {len(others)} others | {total} | {sum(counts[image] for image in others)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
