"""Two runs on the same images: what changed, by group and category, and how sure that is."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.metrics.groups import group_ids
from ovrcoat.evaluation.reports.bootstrap import (
    Draws,
    Figures,
    Tallies,
    panoptic_figures,
    resample,
    semantic_figures,
    tally_matrix,
)
from ovrcoat.evaluation.reports.report import EvaluationReport, ImageTallies, InstanceScores, trust_key
from ovrcoat.evaluation.reports.training_frequency import BINS, MORE, frequency_bin
from ovrcoat.vocabulary import Category

SAMPLES = 1000  # the ends of a 95 % interval then rest on 25 resamples each
MIN_PHOTOS = 5  # with fewer the resamples repeat themselves: an interval would only look narrow
AP_FIGURES = ("AP", "AP50", "AP75")
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs."""

    report: EvaluationReport
    trust: float | int | str

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.report.model.name}, γ = {trust_key(self.trust)}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of a group or category in percent; None where it is undefined.

    Attributes:
        figure: "PQ", "SQ", "RQ", "IoU" (of a category), "mIoU" (of a group), "AP", "AP50" or "AP75".
        name: of the group or category.
        difference: b - a, in percent points.
        interval: where 95 % of the resamples lie; None for AP, which is no sum over images, and for
            categories of fewer than `MIN_PHOTOS` photos.
        images: those that have anything to count for it, in either run.
        category_id: None for groups.
    """

    figure: str
    name: str
    a: float | None
    b: float | None
    difference: float | None
    interval: Interval | None
    images: int
    category_id: int | None = None


@dataclass(frozen=True, slots=True)
class FrequencyGain:
    """Gain against the number of training segments, by bins, and as Spearman's rank correlation (-1..1).

    `correlation` and `p_value` (of no correlation) are None with fewer than three categories, or without
    any difference between them.
    """

    bins: tuple[Difference, ...]
    correlation: float | None
    p_value: float | None
    categories: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare_runs` finds.

    Attributes:
        categories: those with anything to count, task by task, the largest gain first.
        notes: what to mind: settings that differ, images left out.
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
        """A form that JSON can hold."""
        return {"format": "ovrcoat comparison 1", "unit": "percent (0..100)"} | asdict(self)


def compare_runs(
    a: Side,
    b: Side,
    *,
    draws: Draws = Draws(SAMPLES, seed=0),  # noqa: B008 - frozen
    training_counts: Mapping[int, int] | None = None,
    force: bool = False,
) -> Comparison:
    """Compare two runs on the images of both, with 95 % bootstrap intervals over these photos.

    `training_counts`: training segments by category id. `force` compares runs on different data as far as
    images have the same ids.

    Raises:
        DatasetError: the data differ and not `force`; there is no image or no task in common; the category
            ids differ; a γ was not evaluated.
    """
    runs = a.report.run(a.trust), b.report.run(b.trust)
    notes = _check_same(a, b, force=force)
    images = _common_images(a.report, b.report, force=force)
    count = len(images[0])
    is_whole = count == len(a.report.images) == len(b.report.images)
    if not is_whole:
        notes.append(f"compared on the {count} images that both runs have; AP is left out")
    sides = [_ImagesOf(a, images[0]), _ImagesOf(b, images[1])]
    tasks = _compare_tasks(sides, draws=draws, training_counts=training_counts)
    groups = [row for task in tasks for row in task.groups]
    if runs[0].instance and runs[1].instance and is_whole:
        groups += _of_instances(runs[0].instance, runs[1].instance, images=count)
    if not groups:
        raise DatasetError(
            f"{a.label} and {b.label} have no task in common, expected panoptic, semantic or instance "
            "numbers in both; evaluate both with the same --task"
        )
    return Comparison(
        a=a.label,
        b=b.label,
        images=count,
        samples=draws.samples,
        seed=draws.seed,
        groups=tuple(groups),
        categories=tuple(row for task in tasks for row in task.categories),
        frequency=_frequency_gain(tasks[0], training_counts) if tasks and training_counts else None,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Metric:
    """How a task's tallies become figures; the first figure is the one of categories, under its own name."""

    task: Literal["panoptic", "semantic"]
    labels: tuple[str, ...]
    of_category: str
    width: int  # numbers per tally
    figures: Figures


_METRICS = (
    _Metric("panoptic", ("PQ", "SQ", "RQ"), "PQ", 4, panoptic_figures),
    _Metric("semantic", ("mIoU",), "IoU", 3, semantic_figures),
)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The differences of one task; `bins` are groups by training frequency."""

    groups: list[Difference]
    bins: list[Difference]
    categories: list[Difference]


@dataclass(frozen=True, slots=True)
class _ImagesOf:
    """A run, and those of its images that are compared."""

    side: Side
    images: Sequence[ImageTallies]

    def has(self, task: str) -> bool:
        return getattr(self.side.report.run(self.side.trust), task) is not None

    def tallies(self, task: str) -> list[Tallies]:
        return [getattr(image, task).get(trust_key(self.side.trust), {}) for image in self.images]


def _compare_tasks(
    sides: Sequence[_ImagesOf], *, draws: Draws, training_counts: Mapping[int, int] | None
) -> list[_Rows]:
    """The tasks that both runs have; words and seen categories are those of the first."""
    report = sides[0].side.report
    categories = report.categories
    return [
        _compare_task(
            metric,
            [side.tallies(metric.task) for side in sides],
            categories=categories,
            groups=group_ids(categories, report.seen_category_ids),
            bins={} if training_counts is None else _bins(categories, training_counts),
            draws=draws,
        )
        for metric in _METRICS
        if all(side.has(metric.task) for side in sides)
    ]


def _compare_task(
    metric: _Metric,
    sides: Sequence[Sequence[Tallies]],
    *,
    categories: Sequence[Category],
    groups: Mapping[str, Collection[int]],
    bins: Mapping[str, Collection[int]],
    draws: Draws,
) -> _Rows:
    """Resample one task; `sides` are the images' tallies of A and of B."""
    ids = [category.id for category in categories]
    members = {**groups, **bins}
    places = [[ids.index(id) for id in member_ids] for member_ids in members.values()]
    first, second = (tally_matrix(images, ids, width=metric.width) for images in sides)
    resampled = resample(
        first,
        second,
        lambda sums: metric.figures(sums.reshape(len(sums), -1, metric.width), places),
        draws=draws,
    )
    met = [a.keys() | b.keys() for a, b in zip(*sides, strict=True)]  # what each image has to count

    def row(figure: int, column: int, label: str, *, name: str, of: Collection[int]) -> Difference:
        a, b = (_number(run[figure, column]) for run in (resampled.first, resampled.second))
        images = sum(not ids.isdisjoint(of) for ids in met)
        certain = a is not None and b is not None and images >= MIN_PHOTOS
        interval = resampled.interval(figure, column) if certain else None
        return Difference(label, name, a, b, _minus(b, a), interval, images)

    def rows(names: Mapping[str, Collection[int]], figures: Sequence[str]) -> list[Difference]:
        columns = {name: len(ids) + place for place, name in enumerate(members)}
        return [
            row(figure, columns[name], label, name=name, of=member_ids)
            for figure, label in enumerate(figures)
            for name, member_ids in names.items()
        ]

    of_categories = [
        replace(
            row(0, place, metric.of_category, name=category.name, of=[category.id]), category_id=category.id
        )
        for place, category in enumerate(categories)
    ]
    return _Rows(
        groups=rows(groups, metric.labels),
        bins=rows(bins, metric.labels[:1]),
        categories=sorted((row for row in of_categories if row.images), key=_largest_gain_first),
    )


def _of_instances(a: InstanceScores, b: InstanceScores, *, images: int) -> list[Difference]:
    """AP of both; it is no sum over images, so there is nothing to resample."""
    return [
        Difference(
            name, "All", a.stats[name], b.stats[name], _minus(b.stats[name], a.stats[name]), None, images
        )
        for name in AP_FIGURES
        if name in a.stats and name in b.stats
    ]


def _bins(categories: Sequence[Category], training_counts: Mapping[int, int]) -> dict[str, list[int]]:
    """Category ids by how often training showed them; a category without a number was never shown."""
    bins: dict[str, list[int]] = {name: [] for name in (*(name for name, _ in BINS), MORE)}
    for category in categories:
        bins[frequency_bin(training_counts.get(category.id, 0))].append(category.id)
    return bins


def _frequency_gain(rows: _Rows, training_counts: Mapping[int, int]) -> FrequencyGain:
    from scipy import stats

    points = [
        (training_counts.get(row.category_id, 0), row.difference)
        for row in rows.categories
        if row.category_id is not None and row.difference is not None
    ]
    counts, gains = [count for count, _ in points], [gain for _, gain in points]
    bins = tuple(rows.bins)
    if len(points) < 3 or len(set(counts)) == 1 or len(set(gains)) == 1:
        return FrequencyGain(bins, None, None, len(points))
    found = stats.spearmanr(counts, gains)
    return FrequencyGain(bins, float(found.statistic), _number(found.pvalue), len(points))


def _check_same(a: Side, b: Side, *, force: bool) -> list[str]:
    """Refuse what cannot be compared; say what differs besides."""
    notes = []
    first, second = a.report, b.report
    if first.data.fingerprint != second.data.fingerprint:
        said = (
            f"the runs are on different data: {first.data.name} ({first.data.fingerprint[:12]}) and "
            f"{second.data.name} ({second.data.fingerprint[:12]})"
        )
        if not force:
            raise DatasetError(
                f"{said}; expected the same fingerprint: evaluate both on one data set, or give --force to "
                "compare the images of the same id"
            )
        notes.append(said)
    if {one.id for one in first.categories} != {one.id for one in second.categories}:
        raise DatasetError(
            f"the runs have different categories ({_ids_of(first.categories)} and "
            f"{_ids_of(second.categories)}), expected the same ids: evaluate both with one vocabulary"
        )
    if first.seen_category_ids != second.seen_category_ids:
        notes.append("the runs differ in which categories are seen; Seen and Unseen are those of A")
    for name in sorted(first.protocol.keys() | second.protocol.keys()):
        values = first.protocol.get(name), second.protocol.get(name)
        if values[0] != values[1]:
            notes.append(f"the setting {name} differs: {values[0]} and {values[1]}")
    return notes


def _ids_of(categories: Sequence[Category]) -> str:
    shown = ", ".join(str(category.id) for category in categories[:5])
    return f"{len(categories)}: {shown}{' …' if len(categories) > 5 else ''}"


def _common_images(
    a: EvaluationReport, b: EvaluationReport, *, force: bool
) -> tuple[list[ImageTallies], list[ImageTallies]]:
    """The images that both have, in one order."""
    in_b = {image.image_id: image for image in b.images}
    common = [image for image in a.images if image.image_id in in_b]
    if not common:
        raise DatasetError(
            f"the runs have no image in common (A has {len(a.images)}, B has {len(b.images)}): nothing can "
            "be compared; evaluate both on the same images"
        )
    if (len(common) < len(a.images) or len(common) < len(b.images)) and not force:
        raise DatasetError(
            f"A has {len(a.images)} images and B has {len(b.images)}, of which {len(common)} are in both; "
            "expected the same images: evaluate both with one --limit, or give --force to compare these"
        )
    return common, [in_b[image.image_id] for image in common]


def _number(value: float) -> float | None:
    """NaN is undefined."""
    return None if math.isnan(value) else float(value)


def _minus(b: float | None, a: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _largest_gain_first(row: Difference) -> tuple[bool, float]:
    return row.difference is None, -(row.difference or 0.0)
