"""Training frequency: the number of training segments of each category."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovrcoat.errors import DatasetError
from ovrcoat.formats.json_files import read_json_object
from ovrcoat.system.input_files import REPORT
from ovrcoat.vocabulary import Category

BINS = (("0", 0), ("1-10", 10), ("11-100", 100), ("101-1000", 1000))  # name, maximum number of segments
LAST_BIN = ">1000"
BIN_NAMES = (*(name for name, _ in BINS), LAST_BIN)
_EXPECTED_FILE = 'counts by name, such as {"cat": 120, "sofa": 3}'


def frequency_bin(count: int) -> str:
    """Return the name of the bin for a number of training segments."""
    return next((name for name, maximum in BINS if count <= maximum), LAST_BIN)


def training_counts(
    source: str, categories: Sequence[Category], *, root: Path | None = None
) -> dict[int, int]:
    """Return the number of training segments by category id.

    A training category counts for every category that shares a name with it, character by character, which is
    also the rule of seen and unseen categories. Crowd segments are not counted, because training excludes
    them.

    Args:
        source: A published dataset, of which the training split is used; the path of your own dataset; or a
            JSON file {name: count}.
        categories: The evaluated categories.
        root: Folder of the published datasets.

    Raises:
        DatasetError: The dataset or the file cannot be read, or contains no segment of these categories.
    """
    is_file = source.lower().endswith(".json")
    counts = _read_file(Path(source)) if is_file else _count_dataset(source, root=root)
    found = {
        category.id: sum(count for names, count in counts.items() if not names.isdisjoint(category.names))
        for category in categories
    }
    if not any(found.values()):
        raise DatasetError(
            f"{source} has no segment of any evaluated category, so the training frequency is unknown; "
            "expected names as in the vocabulary of the report"
        )
    return found


def _read_file(path: Path) -> Mapping[frozenset[str], int]:
    content = read_json_object(path, expected=_EXPECTED_FILE, limit=REPORT)
    for name, count in content.items():
        if type(count) is not int or count < 0:
            raise DatasetError(
                f"{path}: the count of {name!r} is {count!r}, expected an integer of 0 or more: "
                f"{_EXPECTED_FILE}"
            )
    return {frozenset([name]): count for name, count in content.items()}


def _count_dataset(source: str, *, root: Path | None) -> Mapping[frozenset[str], int]:
    from ovrcoat.data.catalog import list_datasets, open_dataset

    dataset = open_dataset(source, root=root, split="train" if source in list_datasets() else None)
    segments = Counter(
        segment.category_id
        for record in dataset.records
        for segment in record.segments
        if not segment.is_crowd
    )
    if not segments:
        raise DatasetError(
            f"{source} lists no panoptic segments, expected a dataset with panoptic labels; "
            'use one, or a JSON file with counts by name, such as {"cat": 120, "sofa": 3}'
        )
    counts: Counter[frozenset[str]] = Counter()
    for category in dataset.categories:
        counts[frozenset(category.names)] += segments[category.id]
    return counts
