"""Renders a report as text for the terminal, as Markdown, and as CSV with one line per category and γ.

Tables are in percent with one decimal, as in papers. The CSV contains all digits, in the units of the report.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ovrcoat.evaluation.reports.report import (
    ErrorAnalysisScores,
    EvaluationReport,
    PanopticScores,
    RunReport,
    trust_key,
)
from ovrcoat.system.visible_text import visible

UNDEFINED = "-"
# Spreadsheets compute cells that begin so; some split lines at other separators than the comma, too.
FORMULA_START = re.compile(r"""(^|[;,|"'])(\s*[=+\-@＝＋－＠])""")
MARKDOWN_SIGNS = re.compile(r"[\\`|\[\]]")
CSV_COLUMNS = (
    *("trust", "id", "name", "isthing", "seen", "tp", "fp", "fn", "iou_sum", "pq", "sq", "rq"),  # 0..1
    *("iou", "ap"),  # percent
)
SEMANTIC_METRICS = ("mIoU", "fwIoU", "mACC", "pACC")
Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """One table; the first column is text, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def format_text(report: EvaluationReport) -> str:
    """Return all tables and issues as text for the terminal."""
    lines = [*_head(report)]
    for table in tables(report):
        lines += ["", table.title, *align_columns((table.columns, *table.rows))]
    if report.issues:
        lines += ["", *(f"{issue.severity}: {issue}" for issue in report.issues)]
    return "\n".join(lines)


def format_markdown(report: EvaluationReport) -> str:
    """Return all tables and settings as Markdown."""
    lines = [f"# Evaluation of {_plain(report.model.name)} on {_plain(report.data.name)}", ""]
    lines += [f"- {_plain(line)}" for line in _head(report)]
    for table in tables(report):
        lines += ["", f"## {table.title}", "", _markdown_row(table.columns)]
        lines.append("|---|" + "---:|" * (len(table.columns) - 1))
        lines += [_markdown_row(row) for row in table.rows]
    lines += ["", "## Settings", "", "| setting | value |", "|---|---|"]
    lines += [_markdown_row((name, str(value))) for name, value in report.protocol.items()]
    if report.issues:
        lines += [
            "",
            "## Issues",
            "",
            *(f"- {item.severity}: {_plain(str(item))}" for item in report.issues),
        ]
    return "\n".join(lines) + "\n"


def format_csv(report: EvaluationReport) -> str:
    """Return CSV with one line per γ and category. Empty cells are undefined or were not evaluated."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for run in report.runs:
        for row in _csv_rows(report, run):
            writer.writerow(["" if cell is None else _csv_cell(cell) for cell in row])
    return text.getvalue()


def tables(report: EvaluationReport) -> list[Table]:
    """Return all tables of a report in order."""
    found = []
    for run in report.runs:
        title = f"γ = {trust_key(run.trust)}"
        if run.panoptic:
            found.append(_panoptic_table(run.panoptic, f"{title}, panoptic quality (%)"))
        if run.semantic:
            values = run.semantic.model_dump(by_alias=True)
            row = ("All", *(one_decimal(values[metric]) for metric in SEMANTIC_METRICS))
            found.append(Table(f"{title}, semantic (%)", ("", *SEMANTIC_METRICS), (row,)))
        if run.instance:
            stats = run.instance.stats
            row = ("All", *map(one_decimal, stats.values()))
            found.append(Table(f"{title}, mask AP (%)", ("", *stats), (row,)))
    for run in report.runs:
        if run.error_analysis:
            title = f"γ = {trust_key(run.trust)}, outcomes of ground-truth segments"
            found.append(_error_analysis_table(run.error_analysis, title))
    return found


def one_decimal(percent: float | None) -> str:
    """Return a value with one decimal, as in papers; "-" if undefined."""
    return UNDEFINED if percent is None else f"{percent:.1f}"


def align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with aligned columns: the first one left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _head(report: EvaluationReport) -> list[str]:
    split = f" {report.data.split}" if report.data.split else ""
    return [
        f"model: {report.model.name} ({report.model.hash[:12]})",
        f"data: {report.data.name}{split}, {len(report.images)} of {report.data.images} images, "
        f"fingerprint {report.data.fingerprint[:12]}",
        f"ovrcoat {report.ovrcoat}, {report.created}",
    ]


def _panoptic_table(scores: PanopticScores, title: str) -> Table:
    rows = []
    for name, group in scores.groups.items():
        values = (None if value is None else 100 * value for value in (group.pq, group.sq, group.rq))
        rows.append((name, *map(one_decimal, values), str(group.n)))
    return Table(title, ("", "PQ", "SQ", "RQ", "n"), tuple(rows))


def _error_analysis_table(scores: ErrorAnalysisScores, title: str) -> Table:
    """Return the counts, and their share of all ground-truth segments of the group."""
    rows = []
    for row in scores.rows:
        cells = [row.outcome]
        for name, count in row.counts.items():
            segments = scores.segments.get(name, 0)
            cells += [str(count), f"{100 * count / segments:.1f} %" if segments else UNDEFINED]
        rows.append(tuple(cells))
    names = [name for row in scores.rows[:1] for name in row.counts]
    return Table(title, ("", *(column for name in names for column in (name, "share"))), tuple(rows))


def _csv_rows(report: EvaluationReport, run: RunReport) -> list[tuple[Cell, ...]]:
    seen_ids = report.seen_category_ids
    rows: list[tuple[Cell, ...]] = []
    for index, category in enumerate(report.categories):
        score = run.panoptic.per_class.get(category.id) if run.panoptic else None
        panoptic: tuple[Cell, ...] = (None,) * 7
        if score:
            panoptic = (score.tp, score.fp, score.fn, score.iou_sum, score.pq, score.sq, score.rq)
        instance = run.instance.per_class.get(category.id) if run.instance else None
        rows.append(
            (
                *(trust_key(run.trust), category.id, category.name, int(category.is_thing)),
                None if seen_ids is None else int(category.id in seen_ids),
                *panoptic,
                run.semantic.iou[index] if run.semantic else None,
                instance.ap if instance else None,
            )
        )
    return rows


def _csv_cell(cell: str | int | float) -> str | int | float:
    """Return a cell that no spreadsheet takes for a formula: an apostrophe marks text that looks like one."""
    return FORMULA_START.sub(r"\1'\2", visible(cell)) if isinstance(cell, str) else cell


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    """Return text for Markdown: on one line, without tables, HTML, links, images and code of its own."""
    escaped = MARKDOWN_SIGNS.sub(r"\\\g<0>", " ".join(map(visible, text.split())))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")
