"""How often training showed each category: does a change help what was rare?"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ovrcoat.errors import DatasetError
from ovrcoat.vocabulary import Category

MAX_BYTES = 64 * 2**20  # of a file of counts: a name and a number for each of some thousand categories
BINS = (("never", 0), ("1-10", 10), ("11-100", 100), ("101-1000", 1000))  # name, most segments
MORE = "more"


def frequency_bin(count: int) -> str:
    """The bin of a number of training segments."""
    return next((name for name, most in BINS if count <= most), MORE)


def training_counts(
    source: str, categories: Sequence[Category], *, root: Path | None = None
) -> dict[int, int]:
    """Training segments per category id.

    `source` is a data set (a published name, of which the training split is taken, or the place of one's
    own), or a JSON file {name: count}. A training category counts for every category that shares a name with
    it, character by character: the rule of seen and unseen. Crowds are not counted: training leaves them out.

    Raises:
        DatasetError: the data set or the file cannot be read, or holds no segment.
    """
    is_file = source.lower().endswith(".json")
    counts = _from_file(Path(source)) if is_file else _from_dataset(source, root=root)
    found = {
        category.id: sum(count for names, count in counts.items() if not names.isdisjoint(category.names))
        for category in categories
    }
    if not any(found.values()):
        raise DatasetError(
            f"{source} has no segment of any category that was evaluated, so nothing can be said of training "
            "frequency; expected names as the vocabulary of the report has them"
        )
    return found


def _from_file(path: Path) -> Mapping[frozenset[str], int]:
    advice = 'expected a JSON file such as {"cat": 120, "sofa": 3}'
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DatasetError(f"{path} has more than {MAX_BYTES:,} bytes; {advice}")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"cannot read {path} ({error.strerror or error}); {advice}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is no JSON or cut off ({error}); {advice}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds a JSON {type(content).__name__}; {advice}")
    for name, count in content.items():
        if type(count) is not int or count < 0:
            raise DatasetError(
                f"{path}: the count of {name!r} is {count!r}; {advice}: whole numbers from 0 on"
            )
    return {frozenset([name]): count for name, count in content.items()}


def _from_dataset(source: str, *, root: Path | None) -> Mapping[frozenset[str], int]:
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
            f"{source} lists no panoptic segments, expected a data set with panoptic labels; "
            'give one, or a JSON file such as {"cat": 120, "sofa": 3}'
        )
    counts: Counter[frozenset[str]] = Counter()
    for category in dataset.categories:
        counts[frozenset(category.names)] += segments[category.id]
    return counts
