"""What a checkpoint records about its training data, so that an evaluation can check for overlap.

Each stage adds one entry to the provenance, a JSON document under the key "stage_NAME". Checkpoints of
earlier versions record only the names of the datasets.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ovrcoat.data.dataset import Dataset
from ovrcoat.data.held_out import is_held_out
from ovrcoat.formats.annotations import Record
from ovrcoat.system.documents import parse_json

STAGE_PREFIX = "stage_"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A dataset that a stage was trained on.

    Attributes:
        name: of the dataset, or of its folder.
        split: of a published dataset.
        images: labeled images that were used for training, without held-out images.
        held_out: share of the images that was excluded (`is_held_out`); None if it is not recorded.
        fingerprint: `Dataset.fingerprint` at the time of training; None if it is not recorded.
    """

    name: str
    split: str | None = None
    images: int | None = None
    held_out: float | None = None
    fingerprint: str | None = None

    def is_same(self, dataset: Dataset) -> bool:
        """Return whether the dataset is this one, possibly changed or renamed since."""
        if self.fingerprint is not None and self.fingerprint == dataset.fingerprint():
            return True
        return self.name == dataset.name and (self.split is None or self.split == dataset.split)

    def trained_images(self, records: Sequence[Record]) -> int:
        """Return how many of these images of the dataset were not held out."""
        share = self.held_out or 0.0
        return sum(not is_held_out(record.image, share) for record in records)


def add_stage(
    provenance: Mapping[str, str], name: str, facts: Mapping[str, Any], *, data: Sequence[TrainingData]
) -> dict[str, str]:
    """Return the provenance with an entry for a stage. Entries of earlier trainings are kept.

    Args:
        provenance: that of the initial model.
        name: of the stage.
        facts: JSON-serializable settings of the stage.
        data: its datasets.
    """
    key, number = f"{STAGE_PREFIX}{name}", 1
    while key in provenance:  # the initial model had a stage of this name
        number += 1
        key = f"{STAGE_PREFIX}{name}_{number}"
    return {**provenance, key: json.dumps({**facts, "data": [asdict(item) for item in data]})}


def read_training_data(provenance: Mapping[str, str]) -> tuple[TrainingData, ...]:
    """Return the datasets of all stages; entries in an unknown form are ignored."""
    found: dict[TrainingData, None] = {}
    for key, text in provenance.items():
        if key.startswith(STAGE_PREFIX):
            for item in _entries(text):
                found[item] = None
    return tuple(found)


def _entries(text: str) -> list[TrainingData]:
    try:
        return [
            TrainingData(item) if isinstance(item, str) else TrainingData(**item)
            for item in parse_json(text)["data"]
        ]
    except (ValueError, KeyError, TypeError):
        return []
