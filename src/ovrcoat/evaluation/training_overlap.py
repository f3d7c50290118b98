"""Reports that a model was trained on images on which it is evaluated."""

from collections.abc import Mapping, Sequence

from ovrcoat.checkpoints.training_record import TrainingData, read_training_data
from ovrcoat.data.dataset import Dataset
from ovrcoat.formats.annotations import Record
from ovrcoat.issues import IssueList

CODE = "trained-on-images"


def add_training_overlap(
    provenance: Mapping[str, str], dataset: Dataset, records: Sequence[Record], issues: IssueList
) -> None:
    """Add a warning for each dataset in the provenance of a checkpoint that is the evaluated one.

    Args:
        provenance: of the checkpoint.
        dataset: the evaluated dataset.
        records: its evaluated images.
        issues: where the warning is added.
    """
    matching = [data for data in read_training_data(provenance) if data.is_same(dataset)]
    examples = dict.fromkeys(example for data in matching if (example := _describe(data, records)))
    for example in examples:
        issues.add(
            CODE,
            "the model was trained on images that were evaluated, so the numbers do not show how it performs "
            "on new images; evaluate held-out images (--held-out, as in training) or another dataset",
            example=example,
            severity="warning",
        )


def _describe(data: TrainingData, records: Sequence[Record]) -> str | None:
    """Describe the overlap; None if all evaluated images were held out from training."""
    if data.held_out is None:
        return f"{data.name}: the checkpoint does not record which of its images were held out"
    count = data.trained_images(records)
    if not count:
        return None
    share = f"held_out was {data.held_out:g}" if data.held_out else "none was held out"
    return f"{data.name}: {count:,} of {len(records):,} evaluated images; in training, {share}"
