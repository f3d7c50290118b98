"""Checks the data of a stage before its first step, so that no training fails or is useless after hours.

Only lists and the beginnings and ends of files are examined.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ovrcoat.errors import DatasetError
from ovrcoat.issues import MAX_EXAMPLES, Issue
from ovrcoat.training.file_checks import check_files
from ovrcoat.training.sources import ImageSource

FEW_NAMED = 0.5  # share of the categories below which a warning is reported


@dataclass(frozen=True, slots=True)
class DataSummary:
    """What a stage will be trained on.

    Attributes:
        images: training images.
        held_out: images that are excluded from training.
        categories: categories that occur in the training images.
        named_categories: those of them that have a class name, and so a text embedding, in the training
            vocabulary.
        unnamed: number of segments of each other category, by name, the most frequent first. They train masks
            only.
        issues: warnings and notes, those of the datasets included.
    """

    images: int
    held_out: int
    categories: int
    named_categories: int
    unnamed: dict[str, int]
    issues: tuple[Issue, ...]


def check_data(
    sources: Sequence[ImageSource], category_maps: Sequence[Mapping[int, int]], *, class_names: Sequence[str]
) -> DataSummary:
    """Check that the files are usable and that the labels can train something.

    Args:
        sources: the datasets.
        category_maps: for each, category id → index in the training vocabulary.
        class_names: of the training vocabulary, for messages.

    Raises:
        DatasetError: files are missing or damaged, there are no panoptic labels or no segments, or no
            category has a class name.
    """
    issues: list[Issue] = []
    for source in sources:
        if "panoptic" not in source.dataset.tasks:
            raise DatasetError(
                f"{source.dataset.name} has labels for {', '.join(sorted(source.dataset.tasks)) or 'no task'}"
                ", but training needs panoptic labels: masks of segments (docs/datasets.md)"
            )
        name = source.dataset.name
        issues += [replace(issue, where=issue.where or name) for issue in source.dataset.issues]
        issues += [*check_files(source), *_check_held_out(source)]
    named, unnamed = _count_segments(sources, category_maps)
    if not named:
        raise _nothing_named(unnamed, class_names)
    total = len(named) + len(unnamed)
    if len(named) < FEW_NAMED * total:
        issues.append(
            Issue(
                "warning",
                "few-categories-named",
                f"only {len(named)} of {total} categories of the data have a class name in the training "
                "vocabulary; segments of the others train masks only",
                examples=_counted(unnamed),
                count=len(unnamed),
            )
        )
    return DataSummary(
        images=sum(len(source.records) for source in sources),
        held_out=sum(len(source.dataset) - len(source.records) for source in sources),
        categories=total,
        named_categories=len(named),
        unnamed=dict(unnamed.most_common()),
        issues=tuple(issues),
    )


def _check_held_out(source: ImageSource) -> Iterator[Issue]:
    if source.held_out and len(source.records) == len(source.dataset):
        yield Issue(
            "warning",
            "nothing-held-out",
            f"{source.dataset.name}: held_out is {source.held_out}, but none of the {len(source.dataset)} "
            "images is held out, so nothing is left for evaluation; use a larger share, or more images",
        )


def _count_segments(
    sources: Sequence[ImageSource], category_maps: Sequence[Mapping[int, int]]
) -> tuple[Counter[str], Counter[str]]:
    """Return the number of segments of categories with and without a class name, by category name.

    Raises:
        DatasetError: there are no segments that could be trained.
    """
    named, unnamed = Counter[str](), Counter[str]()
    crowds = 0
    for source, category_map in zip(sources, category_maps, strict=True):
        counts = Counter[int]()
        for record in source.records:
            counts.update(segment.category_id for segment in record.segments if not segment.is_crowd)
            crowds += sum(segment.is_crowd for segment in record.segments)
        for category in source.dataset.categories:
            if counts[category.id]:
                found = named if category.id in category_map else unnamed
                found[category.name] += counts[category.id]
    if not named and not unnamed:
        names = ", ".join(source.dataset.name for source in sources)
        reason = f"all {crowds} segments are crowds" if crowds else "no image has a segment"
        raise DatasetError(
            f"{names}: {reason}, so there is nothing to learn; training needs labeled segments that are "
            "not crowds"
        )
    return named, unnamed


def _nothing_named(unnamed: Counter[str], class_names: Sequence[str]) -> DatasetError:
    return DatasetError(
        f"0 of {len(unnamed)} categories of the data have a class name in the training vocabulary. The "
        f"labels are called {_shortened(_counted(unnamed), len(unnamed))}; the class names are "
        f"{_shortened(class_names[:MAX_EXAMPLES], len(class_names))}. Use the names of the labels in "
        "`vocabulary`, for example as synonyms (sky, class_1), or rename the categories of the dataset"
    )


def _counted(counts: Counter[str]) -> list[str]:
    return [f"{name} ({format_count(count, 'segment')})" for name, count in counts.most_common(MAX_EXAMPLES)]


def _shortened(examples: Sequence[str], total: int) -> str:
    return ", ".join(examples) + (f" and {total - len(examples)} more" if total > len(examples) else "")


def format_count(count: int, noun: str) -> str:
    """Return such as "1 segment" or "2 segments"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
