"""nano on the photos that its training never saw: the figures of the model card.

    python tools/measure_nano.py --data ../shared/data [--model src/ovrcoat/weights/nano.safetensors]

found: true segments that some predicted segment covers with an IoU above 0.5. named: found, under the right
name. PQ is only given for MSRC, the one set whose photos are labelled throughout (void pixels are left out,
as panopticapi does); a thing-only set would count every rightly found wall as false.
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nano import recipe
from ovrcoat import Category, Segmenter, Vocabulary
from ovrcoat.data.panoptic_folder import LabelledPhoto, PanopticFolder

SETS = ("coco_things", "voc_objects", "msrc_dev")


@dataclass(slots=True)
class Tally:
    """Counts of one category."""

    true: int = 0
    found: int = 0
    named: int = 0
    false: int = 0
    iou_sum: float = 0.0

    @property
    def quality(self) -> float | None:
        """PQ of the category; None where nothing counts."""
        total = self.true + self.false + self.named  # 2 TP + FP + FN, as true = TP + FN
        return 2 * self.iou_sum / total if total else None


def main() -> None:
    """Print a table per data set and trust."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--trust", nargs="+", type=float, default=(0.0, 0.5))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    segmenter = Segmenter.load(arguments.model)
    for name in arguments.sets:
        photos = PanopticFolder(arguments.data / name)
        held_out = [
            index for index, (file_name, _) in enumerate(photos.records) if recipe.is_held_out(file_name)
        ]
        tallies: dict[float, dict[str, Tally]] = {trust: defaultdict(Tally) for trust in arguments.trust}
        vocabulary = words(photos)
        for index in held_out:
            photo = photos[index]
            encoded = segmenter.encode(photo.pixels)
            for trust in arguments.trust:
                result = encoded.segment(vocabulary, trust=trust, background="none")
                compare(photo, result, tallies[trust])
        for trust in arguments.trust:
            show(
                f"{name}, {len(held_out)} photos, trust {trust}", tallies[trust], panoptic=name == "msrc_dev"
            )


def words(photos: PanopticFolder) -> Vocabulary:
    """The data set's own names, with the synonyms that nano was taught."""
    known = recipe.training_categories(recipe.coco_things())
    position = recipe.category_ids(known)
    groups = list(known.values())
    categories = tuple(
        Category(
            names=tuple(dict.fromkeys((name, *(groups[position[name]] if name in position else ())))),
            is_thing=recipe.MSRC_WORDS.get(name, True),
            id=category_id,
        )
        for category_id, name in photos.category_names.items()
    )
    return Vocabulary(categories=categories, name=photos.root.name)


def compare(photo: LabelledPhoto, result, tallies: dict[str, Tally]) -> None:
    """Count one photo."""
    predicted = result.id_map.astype(np.int64)
    void = photo.id_map == 0
    matched = set()
    for segment_id, name in zip(photo.segment_ids, photo.names, strict=True):
        mask = photo.id_map == segment_id
        tally = tallies[name]
        tally.true += 1
        ids, counts = np.unique(predicted[mask], return_counts=True)
        for candidate, overlap in zip(ids, counts, strict=True):
            if candidate == 0:
                continue
            other = (predicted == candidate) & ~void
            iou = overlap / (int(mask.sum()) + int(other.sum()) - int(overlap))
            if iou > 0.5:
                tally.found += 1
                segment = next(segment for segment in result.segments if segment.id == candidate)
                if segment.category == name:
                    tally.named += 1
                    tally.iou_sum += float(iou)
                    matched.add(segment.id)
    for segment in result.segments:
        if segment.id not in matched and (void & (predicted == segment.id)).sum() <= 0.5 * segment.area:
            tallies[segment.category].false += 1


def show(title: str, tallies: dict[str, Tally], *, panoptic: bool) -> None:
    """One line for the set, and per category for a panoptic one."""
    true, found, named = (
        sum(getattr(tally, name) for tally in tallies.values()) for name in ("true", "found", "named")
    )
    line = f"{title}: {true} segments, found {found / true:.1%}, named {named / true:.1%}"
    if panoptic:
        qualities = {name: tally.quality for name, tally in tallies.items() if tally.quality is not None}
        line += f", PQ {100 * np.mean(list(qualities.values())):.1f}"
        line += "\n   " + ", ".join(f"{name} {100 * value:.0f}" for name, value in sorted(qualities.items()))
    print(line, flush=True)


if __name__ == "__main__":
    main()
