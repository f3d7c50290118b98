"""`ovrcoat compare`: compares two reports of `ovrcoat evaluate`, with confidence intervals."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ovrcoat.cli.terminal import print_json, print_line, print_note, print_table
from ovrcoat.errors import ConfigError

if TYPE_CHECKING:
    from ovrcoat.choices import Trust
    from ovrcoat.evaluation.reports.compare import Comparison, Difference
    from ovrcoat.evaluation.reports.report import EvaluationReport

STDOUT = Path("-")
COLUMNS = ("A", "B", "B - A", "95 % interval", "images")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class TrustOptions:
    """The γ to compare; not needed for reports with a single γ."""

    trust: float | Literal["adaptive"] | None = None
    """γ of both runs."""

    trust_a: float | Literal["adaptive"] | None = None
    """γ of A."""

    trust_b: float | Literal["adaptive"] | None = None
    """γ of B."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOptions:
    """How to compare."""

    samples: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 1000
    """Number of bootstrap resamples for the intervals."""

    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0
    """Seed of the random number generator."""

    training: str | None = None
    """Show differences by training frequency: a dataset (training split), or a JSON file {name: count}."""

    training_root: Path | None = None
    """Folder of that dataset. [default: as in `ovrcoat evaluate --root`]"""

    force: Annotated[bool, Parameter(negative="")] = False
    """Compare even if data or images differ, using the images with the same ids."""


def compare(
    a: Path,
    b: Path | None = None,
    /,
    *,
    trusts: TrustOptions = TrustOptions(),
    analysis: AnalysisOptions = AnalysisOptions(),
    categories: Annotated[int, Parameter(validator=Number(gte=0))] = 10,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
) -> int:
    """Show the differences between run A and run B, with 95 % bootstrap intervals over the images.

    Parameters
    ----------
    a
        A report.json of `ovrcoat evaluate`.
    b
        Another report.json on the same data. Leave it out to compare two γ of A.
    categories
        Number of categories to show with the largest gains, and with the largest losses.
    json
        Write the complete comparison to this JSON file; - writes it to stdout instead of the tables.
    """
    from ovrcoat.evaluation.reports.report import EvaluationReport

    first = EvaluationReport.read(a)
    second = first if b is None else EvaluationReport.read(b)

    from ovrcoat.evaluation.reports.bootstrap import BootstrapSettings
    from ovrcoat.evaluation.reports.compare import ComparedRun, compare_runs
    from ovrcoat.evaluation.reports.training_frequency import training_counts

    runs = (
        ComparedRun(first, _choose_trust(first, trusts.trust_a, trusts.trust, name="A")),
        ComparedRun(second, _choose_trust(second, trusts.trust_b, trusts.trust, name="B")),
    )
    counts = None
    if analysis.training is not None:
        counts = training_counts(analysis.training, first.categories, root=analysis.training_root)
    comparison = compare_runs(
        *runs,
        settings=BootstrapSettings(analysis.samples, analysis.seed),
        training_counts=counts,
        force=analysis.force,
    )
    for text in comparison.notes:
        print_note(f"note: {text}")
    if json == STDOUT:
        print_json(comparison.to_dict())
        return 0
    if json is not None:
        from ovrcoat.formats.json_files import write_json

        write_json(json, comparison.to_dict())
    _print_comparison(comparison, shown=categories)
    return 0


def _choose_trust(
    report: "EvaluationReport", own: "Trust | None", both: "Trust | None", *, name: str
) -> "Trust":
    """Return the specified γ, or the only one in the report."""
    specified = own if own is not None else both
    if specified is not None:
        return specified
    if len(report.trusts) > 1:
        from ovrcoat.evaluation.reports.report import trust_key

        known = ", ".join(map(trust_key, report.trusts))
        raise ConfigError(
            f"report {name} contains several γ ({known}): choose one with --trust, or with --trust-a and "
            "--trust-b"
        )
    return report.trusts[0]


def _print_comparison(comparison: "Comparison", *, shown: int) -> None:
    print_line(f"A: {comparison.a}\nB: {comparison.b}")
    print_line(f"{comparison.images} images, {comparison.samples} resamples; all values in percent\n")
    print_table(
        ("metric", "group", *COLUMNS),
        [(row.metric, row.name, *_cells(row)) for row in comparison.groups if row.images],
    )
    gains = [row for row in comparison.categories if row.difference is not None and row.difference > 0]
    losses = [row for row in comparison.categories if row.difference is not None and row.difference < 0]
    for title, rows in (("largest gains", gains[:shown]), ("largest losses", losses[::-1][:shown])):
        if rows:
            print_line(title)
            print_table(
                ("metric", "category", *COLUMNS), [(row.metric, row.name, *_cells(row)) for row in rows]
            )
    if comparison.frequency is not None:
        frequency = comparison.frequency
        print_line("by number of training segments of the category")
        print_table(
            ("metric", "segments", *COLUMNS), [(row.metric, row.name, *_cells(row)) for row in frequency.bins]
        )
        if frequency.correlation is not None and frequency.p_value is not None:
            print_line(
                "rank correlation of difference and training frequency (Spearman): "
                f"{frequency.correlation:+.2f} (p = {frequency.p_value:.2g}, "
                f"{frequency.categories} categories)"
            )


def _cells(row: "Difference") -> tuple[str, ...]:
    values = ("-" if value is None else f"{value:.1f}" for value in (row.a, row.b))
    difference = "-" if row.difference is None else f"{row.difference:+.1f}"
    interval = "-" if row.interval is None else f"{row.interval[0]:+.1f} to {row.interval[1]:+.1f}"
    return (*values, difference, interval, str(row.images))
