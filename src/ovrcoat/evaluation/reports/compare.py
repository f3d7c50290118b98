"""Compares two runs on the same images: differences by group and category, with confidence intervals."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ovrcoat.choices import Trust
from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.metrics.groups import group_ids
from ovrcoat.evaluation.reports.bootstrap import (
    BootstrapSettings,
    MetricFunction,
    Tallies,
    bootstrap,
    panoptic_metrics,
    semantic_metrics,
    tally_matrix,
)
from ovrcoat.evaluation.reports.report import EvaluationReport, ImageTallies, InstanceScores, trust_key
from ovrcoat.evaluation.reports.training_frequency import BIN_NAMES, frequency_bin
from ovrcoat.vocabulary import Category

FORMAT = "ovrcoat comparison 2"
SAMPLES = 1000  # each end of a 95 % interval is then determined by 25 resamples
MIN_IMAGES = 5  # with fewer images, resamples repeat and the interval would be too narrow
AP_METRICS = ("AP", "AP50", "AP75")
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the two runs: a report and a γ that it contains."""

    report: EvaluationReport
    trust: Trust

    @property
    def label(self) -> str:
        """Model and γ as text."""
        return f"{self.report.model.name}, γ = {trust_key(self.trust)}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of a group or category in both runs, in percent.

    Attributes:
        metric: "PQ", "SQ", "RQ", "IoU" (of a category), "mIoU" (of a group), "AP", "AP50" or "AP75".
        name: Name of the group or category.
        a: Value in run A; None if undefined.
        b: Value in run B; None if undefined.
        difference: b - a, in percentage points; None if undefined.
        interval: 95 % bootstrap interval of the difference. None for AP, which is not a sum over images, and
            for groups and categories in fewer than `MIN_IMAGES` images.
        images: Number of images with anything to count, in either run.
        category_id: Id of the category; None for groups.
    """

    metric: str
    name: str
    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None
    images: int
    category_id: int | None = None


@dataclass(frozen=True, slots=True)
class FrequencyGain:
    """Differences by the number of training segments of the category.

    Attributes:
        bins: Differences by bins of the number of training segments.
        correlation: Spearman's rank correlation (-1..1) of difference and number of training segments. None
            with fewer than three categories, or if all values are equal.
        p_value: p-value under the hypothesis of no correlation; None if `correlation` is None.
        categories: Number of categories that the correlation is based on.
    """

    bins: tuple[Difference, ...]
    correlation: float | None
    p_value: float | None
    categories: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of `compare_runs`.

    Attributes:
        a: Model and γ of run A.
        b: Model and γ of run B.
        images: Number of compared images.
        samples: Number of resamples.
        seed: Seed of the random number generator.
        groups: Differences of all groups.
        categories: Differences of the categories with anything to count, by task and descending difference.
        frequency: Differences by training frequency; None without training counts.
        notes: What to consider: settings that differ, images that were left out.
    """

    a: str
    b: str
    images: int
    samples: int
    seed: int
    groups: tuple[Difference, ...]
    categories: tuple[Difference, ...]
    frequency: FrequencyGain | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON-serializable dictionary."""
        return {"format": FORMAT, "unit": "percent (0..100)"} | asdict(self)


def compare_runs(
    a: ComparedRun,
    b: ComparedRun,
    *,
    settings: BootstrapSettings = BootstrapSettings(SAMPLES, seed=0),  # noqa: B008 - frozen
    training_counts: Mapping[int, int] | None = None,
    force: bool = False,
) -> Comparison:
    """Compare two runs on their common images, with 95 % bootstrap intervals.

    Args:
        a: The first run.
        b: The second run.
        settings: Number of resamples and seed.
        training_counts: Number of training segments by category id, for `Comparison.frequency`.
        force: Compare runs on different data, using the images with the same ids.

    Raises:
        DatasetError: The data differ and `force` is False, the runs have no image or no task in common, the
            category ids differ, or a γ was not evaluated.
    """
    runs = a.report.run(a.trust), b.report.run(b.trust)
    notes = _check_comparable(a.report, b.report, force=force)
    images = _common_images(a.report, b.report, force=force)
    count = len(images[0])
    is_complete = count == len(a.report.images) == len(b.report.images)
    if not is_complete:
        notes.append(f"compared on the {count} images that both runs have; AP is left out")
    sides = [_Side(a, images[0]), _Side(b, images[1])]
    tasks = _compare_tasks(sides, settings=settings, training_counts=training_counts)
    groups = [row for task in tasks for row in task.groups]
    if runs[0].instance and runs[1].instance and is_complete:
        groups += _compare_instances(runs[0].instance, runs[1].instance, images=count)
    if not groups:
        raise DatasetError(
            f"{a.label} and {b.label} have no task in common, expected panoptic, semantic or instance "
            "numbers in both; evaluate both with the same --task"
        )
    return Comparison(
        a=a.label,
        b=b.label,
        images=count,
        samples=settings.samples,
        seed=settings.seed,
        groups=tuple(groups),
        categories=tuple(row for task in tasks for row in task.categories),
        frequency=_frequency_gain(tasks[0], training_counts) if tasks and training_counts else None,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """How the counts of a task become metrics. Categories use the first metric, under a name of its own."""

    name: Literal["panoptic", "semantic"]
    metrics: tuple[str, ...]
    category_metric: str
    width: int  # numbers per count
    compute: MetricFunction


_TASKS = (
    _Task("panoptic", ("PQ", "SQ", "RQ"), "PQ", 4, panoptic_metrics),
    _Task("semantic", ("mIoU",), "IoU", 3, semantic_metrics),
)


@dataclass(frozen=True, slots=True)
class _TaskDifferences:
    """The differences of one task; `bins` are groups by training frequency."""

    groups: list[Difference]
    bins: list[Difference]
    categories: list[Difference]


@dataclass(frozen=True, slots=True)
class _Side:
    """A run and its compared images."""

    run: ComparedRun
    images: Sequence[ImageTallies]

    def has(self, task: str) -> bool:
        return getattr(self.run.report.run(self.run.trust), task) is not None

    def tallies(self, task: str) -> list[Tallies]:
        return [getattr(image, task).get(trust_key(self.run.trust), {}) for image in self.images]


def _compare_tasks(
    sides: Sequence[_Side], *, settings: BootstrapSettings, training_counts: Mapping[int, int] | None
) -> list[_TaskDifferences]:
    """Compare all tasks that both runs have. Names and seen categories are those of the first run."""
    report = sides[0].run.report
    categories = report.categories
    return [
        _compare_task(
            task,
            [side.tallies(task.name) for side in sides],
            categories=categories,
            groups=group_ids(categories, report.seen_category_ids),
            bins={} if training_counts is None else _bins(categories, training_counts),
            settings=settings,
        )
        for task in _TASKS
        if all(side.has(task.name) for side in sides)
    ]


def _compare_task(
    task: _Task,
    sides: Sequence[Sequence[Tallies]],
    *,
    categories: Sequence[Category],
    groups: Mapping[str, Collection[int]],
    bins: Mapping[str, Collection[int]],
    settings: BootstrapSettings,
) -> _TaskDifferences:
    """Compare one task; `sides` are the counts of all images in run A and in run B."""
    ids = [category.id for category in categories]
    members = {**groups, **bins}
    indices = [[ids.index(id) for id in member_ids] for member_ids in members.values()]
    first, second = (tally_matrix(images, ids, width=task.width) for images in sides)
    resampled = bootstrap(
        first,
        second,
        lambda sums: task.compute(sums.reshape(len(sums), -1, task.width), indices),
        settings=settings,
    )
    counted_ids = [a.keys() | b.keys() for a, b in zip(*sides, strict=True)]  # of each image

    def row(metric: int, column: int, label: str, *, name: str, of: Collection[int]) -> Difference:
        a, b = (_number(run[metric, column]) for run in (resampled.first, resampled.second))
        images = sum(not ids.isdisjoint(of) for ids in counted_ids)
        has_interval = a is not None and b is not None and images >= MIN_IMAGES
        interval = resampled.interval(metric, column) if has_interval else None
        return Difference(label, name, a, b, _minus(b, a), interval, images)

    def rows(names: Mapping[str, Collection[int]], metrics: Sequence[str]) -> list[Difference]:
        columns = {name: len(ids) + index for index, name in enumerate(members)}
        return [
            row(metric, columns[name], label, name=name, of=member_ids)
            for metric, label in enumerate(metrics)
            for name, member_ids in names.items()
        ]

    of_categories = [
        replace(
            row(0, index, task.category_metric, name=category.name, of=[category.id]),
            category_id=category.id,
        )
        for index, category in enumerate(categories)
    ]
    return _TaskDifferences(
        groups=rows(groups, task.metrics),
        bins=rows(bins, task.metrics[:1]),
        categories=sorted((row for row in of_categories if row.images), key=_descending_difference),
    )


def _compare_instances(a: InstanceScores, b: InstanceScores, *, images: int) -> list[Difference]:
    """Compare AP. It is not a sum over images, so it cannot be resampled."""
    return [
        Difference(
            name, "All", a.stats[name], b.stats[name], _minus(b.stats[name], a.stats[name]), None, images
        )
        for name in AP_METRICS
        if name in a.stats and name in b.stats
    ]


def _bins(categories: Sequence[Category], training_counts: Mapping[int, int]) -> dict[str, list[int]]:
    """Return category ids by bin of training frequency; categories without a count have frequency 0."""
    bins: dict[str, list[int]] = {name: [] for name in BIN_NAMES}
    for category in categories:
        bins[frequency_bin(training_counts.get(category.id, 0))].append(category.id)
    return bins


def _frequency_gain(differences: _TaskDifferences, training_counts: Mapping[int, int]) -> FrequencyGain:
    from scipy import stats

    points = [
        (training_counts.get(row.category_id, 0), row.difference)
        for row in differences.categories
        if row.category_id is not None and row.difference is not None
    ]
    counts, gains = [count for count, _ in points], [gain for _, gain in points]
    bins = tuple(differences.bins)
    if len(points) < 3 or len(set(counts)) == 1 or len(set(gains)) == 1:
        return FrequencyGain(bins, None, None, len(points))
    found = stats.spearmanr(counts, gains)
    return FrequencyGain(bins, float(found.statistic), _number(found.pvalue), len(points))


def _check_comparable(a: EvaluationReport, b: EvaluationReport, *, force: bool) -> list[str]:
    """Raise if the reports are not comparable; return notes about other differences."""
    notes = []
    if a.data.fingerprint != b.data.fingerprint:
        text = (
            f"the runs are on different data: {a.data.name} ({a.data.fingerprint[:12]}) and "
            f"{b.data.name} ({b.data.fingerprint[:12]})"
        )
        if not force:
            raise DatasetError(
                f"{text}; expected the same fingerprint: evaluate both on the same dataset, or use --force "
                "to compare the images with the same ids"
            )
        notes.append(text)
    if {one.id for one in a.categories} != {one.id for one in b.categories}:
        raise DatasetError(
            f"the runs have different categories ({_describe_ids(a.categories)} and "
            f"{_describe_ids(b.categories)}), expected the same ids: evaluate both with the same vocabulary"
        )
    if a.seen_category_ids != b.seen_category_ids:
        notes.append("the runs differ in which categories are seen; Seen and Unseen are those of A")
    for name in sorted(a.protocol.keys() | b.protocol.keys()):
        values = a.protocol.get(name), b.protocol.get(name)
        if values[0] != values[1]:
            notes.append(f"the setting {name} differs: {values[0]} and {values[1]}")
    return notes


def _describe_ids(categories: Sequence[Category]) -> str:
    shown = ", ".join(str(category.id) for category in categories[:5])
    return f"{len(categories)}: {shown}{' …' if len(categories) > 5 else ''}"


def _common_images(
    a: EvaluationReport, b: EvaluationReport, *, force: bool
) -> tuple[list[ImageTallies], list[ImageTallies]]:
    """Return the images that both reports contain, in the order of A."""
    in_b = {image.image_id: image for image in b.images}
    common = [image for image in a.images if image.image_id in in_b]
    if not common:
        raise DatasetError(
            f"the runs have no image in common (A has {len(a.images)}, B has {len(b.images)}), so they "
            "cannot be compared; evaluate both on the same images"
        )
    if (len(common) < len(a.images) or len(common) < len(b.images)) and not force:
        raise DatasetError(
            f"A has {len(a.images)} images and B has {len(b.images)}, of which {len(common)} are in both; "
            "expected the same images: evaluate both with the same --limit, or use --force to compare these"
        )
    return common, [in_b[image.image_id] for image in common]


def _number(value: float) -> float | None:
    """Return a float, or None for NaN."""
    return None if math.isnan(value) else float(value)


def _minus(b: float | None, a: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _descending_difference(row: Difference) -> tuple[bool, float]:
    return row.difference is None, -(row.difference or 0.0)
