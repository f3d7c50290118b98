"""`ovrcoat compare`: two reports of `ovrcoat evaluate` in; what changed, and how sure that is, out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ovrcoat.cli.terminal import print_json, print_line, print_note, print_table
from ovrcoat.errors import ConfigError

if TYPE_CHECKING:
    from ovrcoat.evaluation.reports.compare import Comparison, Difference
    from ovrcoat.evaluation.reports.report import EvaluationReport

STDOUT = Path("-")
COLUMNS = ("A", "B", "B - A", "95 % interval", "images")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Trusts:
    """Which γ of the reports; one that holds a single γ needs none of these."""

    trust: float | Literal["adaptive"] | None = None
    """The γ of both."""

    trust_a: float | Literal["adaptive"] | None = None
    """The γ of A."""

    trust_b: float | Literal["adaptive"] | None = None
    """The γ of B."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """How the difference is looked at."""

    samples: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 1000
    """Resamples of the images that the intervals rest on."""

    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    """Start of the random numbers."""

    training: str | None = None
    """Show the gain by training frequency: a data set (its training split), or a JSON file {name: count}."""

    training_root: Path | None = None
    """Where that data set lies. [default: as for `ovrcoat evaluate --root`]"""

    force: Annotated[bool, Parameter(negative="")] = False
    """Compare even if data or images differ, on the images with the same ids."""


def compare(
    a: Path,
    b: Path | None = None,
    /,
    *,
    trusts: Trusts = Trusts(),
    analysis: Analysis = Analysis(),
    categories: Annotated[int, Parameter(validator=Number(gte=0))] = 10,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
) -> int:
    """Show what changed from run A to run B, with 95 % bootstrap intervals over the photos.

    Parameters
    ----------
    a
        A report.json of `ovrcoat evaluate`.
    b
        Another one on the same data; left out: A, for two γ of one report.
    categories
        Categories shown with the largest gains, and as many with the largest losses.
    json
        Write everything as one JSON document to this file; - is stdout, instead of tables.
    """
    from ovrcoat.evaluation.reports.bootstrap import Draws
    from ovrcoat.evaluation.reports.compare import Side, compare_runs
    from ovrcoat.evaluation.reports.report import EvaluationReport
    from ovrcoat.evaluation.reports.training_frequency import training_counts

    first = EvaluationReport.read(a)
    second = first if b is None else EvaluationReport.read(b)
    sides = (
        Side(first, _trust(first, trusts.trust_a, trusts.trust, name="A")),
        Side(second, _trust(second, trusts.trust_b, trusts.trust, name="B")),
    )
    counts = None
    if analysis.training is not None:
        counts = training_counts(analysis.training, first.categories, root=analysis.training_root)
    comparison = compare_runs(
        *sides,
        draws=Draws(analysis.samples, analysis.seed),
        training_counts=counts,
        force=analysis.force,
    )
    for text in comparison.notes:
        print_note(f"note: {text}")
    if json == STDOUT:
        print_json(comparison.to_dict())
        return 0
    if json is not None:
        _write(json, comparison)
    _say(comparison, shown=categories)
    return 0


def _trust(
    report: "EvaluationReport", own: float | str | None, both: float | str | None, *, name: str
) -> float | str:
    """The γ asked for, or the only one there is."""
    asked = own if own is not None else both
    if asked is not None:
        return asked
    if len(report.trusts) > 1:
        from ovrcoat.evaluation.reports.report import trust_key

        known = ", ".join(map(trust_key, report.trusts))
        raise ConfigError(
            f"report {name} holds several γ ({known}) and none was chosen: give --trust, or --trust-a and "
            "--trust-b"
        )
    return report.trusts[0]


def _say(comparison: "Comparison", *, shown: int) -> None:
    print_line(f"A: {comparison.a}\nB: {comparison.b}")
    print_line(f"{comparison.images} images, {comparison.samples} resamples; all in percent\n")
    print_table(
        ("figure", "group", *COLUMNS),
        [(row.figure, row.name, *_cells(row)) for row in comparison.groups if row.images],
    )
    gains = [row for row in comparison.categories if row.difference is not None and row.difference > 0]
    losses = [row for row in comparison.categories if row.difference is not None and row.difference < 0]
    for title, rows in (("largest gains", gains[:shown]), ("largest losses", losses[::-1][:shown])):
        if rows:
            print_line(title)
            print_table(
                ("figure", "category", *COLUMNS), [(row.figure, row.name, *_cells(row)) for row in rows]
            )
    if comparison.frequency is not None:
        frequency = comparison.frequency
        print_line("by training segments of the category")
        print_table(
            ("figure", "segments", *COLUMNS), [(row.figure, row.name, *_cells(row)) for row in frequency.bins]
        )
        if frequency.correlation is not None and frequency.p_value is not None:
            print_line(
                f"rank correlation of gain and frequency (Spearman): {frequency.correlation:+.2f} "
                f"(p = {frequency.p_value:.2g}, {frequency.categories} categories)"
            )


def _cells(row: "Difference") -> tuple[str, ...]:
    plain = ("-" if value is None else f"{value:.1f}" for value in (row.a, row.b))
    difference = "-" if row.difference is None else f"{row.difference:+.1f}"
    interval = "-" if row.interval is None else f"{row.interval[0]:+.1f} to {row.interval[1]:+.1f}"
    return (*plain, difference, interval, str(row.images))


def _write(path: Path, comparison: "Comparison") -> None:
    import json

    from ovrcoat.system.atomic_write import write_atomically

    text = json.dumps(comparison.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
