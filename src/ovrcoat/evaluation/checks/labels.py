"""Check the label names of a user's own dataset: which are in no vocabulary, and how often they occur."""

from collections import Counter

from ovrcoat.data.dataset import Dataset
from ovrcoat.issues import IssueList
from ovrcoat.vocabulary import Category, Vocabulary
from ovrcoat.vocabulary.catalog import look_up
from ovrcoat.vocabulary.names import match_categories


def count_segments(dataset: Dataset) -> Counter[int]:
    """Return the number of labeled segments by category id; empty for label maps, which have no segments."""
    return Counter(segment.category_id for record in dataset.records for segment in record.segments)


def check_labels(dataset: Dataset, vocabulary: Vocabulary | None, issues: IssueList) -> None:
    """Report labels that are in no vocabulary, the most frequent first.

    Args:
        dataset: A user's own dataset.
        vocabulary: The vocabulary to compare with, for example that of a training run. None: all presets.
        issues: Receives the issues.
    """
    if vocabulary is None:
        code, unknown = (
            "label-in-no-preset",
            [c for c in dataset.categories if look_up(c.names)[1] == "default"],
        )
    else:
        matched = match_categories(dataset.categories, vocabulary.categories)
        code, unknown = "label-not-in-vocabulary", [c for c in dataset.categories if c.id not in matched]
    counts = count_segments(dataset)
    for category in sorted(unknown, key=lambda category: -counts[category.id]):
        issues.report(code, describe_label(category, counts))


def describe_label(category: Category, counts: Counter[int]) -> str:
    """Return a label with its number of segments: "road: 10 segments"."""
    count = counts[category.id]
    return f"{category.name}: {count} segment{'s' if count != 1 else ''}" if counts else category.name
