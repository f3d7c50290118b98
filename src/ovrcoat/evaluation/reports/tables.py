"""A report for people: text for the terminal, Markdown, and a CSV line per category and γ.

Tables are in percent with one decimal, as papers print them; the CSV has all digits, in the report's units.
"""

import csv as csv_files
import io
from collections.abc import Sequence
from dataclasses import dataclass

from ovrcoat.evaluation.reports.report import (
    ErrorAnalysisScores,
    EvaluationReport,
    PanopticScores,
    RunReport,
    trust_key,
)

UNDEFINED = "-"
CSV_COLUMNS = (
    *("trust", "id", "name", "isthing", "seen", "tp", "fp", "fn", "iou_sum", "pq", "sq", "rq"),  # 0..1
    *("iou", "ap"),  # percent
)
SEMANTIC_FIGURES = ("mIoU", "fwIoU", "mACC", "pACC")
Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Block:
    """One table: the first column is text, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(report: EvaluationReport) -> str:
    """What the terminal shows: the numbers of every γ, where masks were lost, what was found odd."""
    lines = [*_head(report)]
    for block in blocks(report):
        lines += ["", block.title, *aligned((block.columns, *block.rows))]
    if report.issues:
        lines += ["", *(f"{issue.severity}: {issue}" for issue in report.issues)]
    return "\n".join(lines)


def markdown(report: EvaluationReport) -> str:
    """The same as Markdown, with the settings."""
    lines = [f"# Evaluation of {_plain(report.model.name)} on {_plain(report.data.name)}", ""]
    lines += [f"- {_plain(line)}" for line in _head(report)]
    for block in blocks(report):
        lines += ["", f"## {block.title}", "", _markdown_row(block.columns)]
        lines.append("|---|" + "---:|" * (len(block.columns) - 1))
        lines += [_markdown_row(row) for row in block.rows]
    lines += ["", "## Settings", "", "| setting | value |", "|---|---|"]
    lines += [_markdown_row((name, str(value))) for name, value in report.protocol.items()]
    if report.issues:
        lines += [
            "",
            "## Findings",
            "",
            *(f"- {item.severity}: {_plain(str(item))}" for item in report.issues),
        ]
    return "\n".join(lines) + "\n"


def csv(report: EvaluationReport) -> str:
    """One line per γ and category of the vocabulary; an empty cell is undefined or was not evaluated."""
    text = io.StringIO()
    writer = csv_files.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for run in report.runs:
        for row in _csv_rows(report, run):
            writer.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue()


def blocks(report: EvaluationReport) -> list[Block]:
    """All tables of a report, in their order."""
    found = []
    for run in report.runs:
        title = f"γ = {trust_key(run.trust)}"
        if run.panoptic:
            found.append(_panoptic_block(run.panoptic, f"{title}, panoptic quality (%)"))
        if run.semantic:
            values = run.semantic.model_dump(by_alias=True)
            row = ("All", *(one_decimal(values[figure]) for figure in SEMANTIC_FIGURES))
            found.append(Block(f"{title}, semantic (%)", ("", *SEMANTIC_FIGURES), (row,)))
        if run.instance:
            stats = run.instance.stats
            row = ("All", *map(one_decimal, stats.values()))
            found.append(Block(f"{title}, mask AP (%)", ("", *stats), (row,)))
    for run in report.runs:
        if run.error_analysis:
            title = f"γ = {trust_key(run.trust)}, what became of true segments"
            found.append(_lost_masks_block(run.error_analysis, title))
    return found


def one_decimal(percent: float | None) -> str:
    """A figure as papers print it."""
    return UNDEFINED if percent is None else f"{percent:.1f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns of one width: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
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


def _panoptic_block(scores: PanopticScores, title: str) -> Block:
    rows = []
    for name, group in scores.groups.items():
        figures = (None if value is None else 100 * value for value in (group.pq, group.sq, group.rq))
        rows.append((name, *map(one_decimal, figures), str(group.n)))
    return Block(title, ("", "PQ", "SQ", "RQ", "n"), tuple(rows))


def _lost_masks_block(scores: ErrorAnalysisScores, title: str) -> Block:
    """Counts, and their share in all true segments of the group."""
    rows = []
    for row in scores.rows:
        cells = [row.outcome]
        for name, count in row.counts.items():
            segments = scores.segments.get(name, 0)
            cells += [str(count), f"{100 * count / segments:.1f} %" if segments else UNDEFINED]
        rows.append(tuple(cells))
    names = [name for row in scores.rows[:1] for name in row.counts]
    return Block(title, ("", *(column for name in names for column in (name, "share"))), tuple(rows))


def _csv_rows(report: EvaluationReport, run: RunReport) -> list[tuple[Cell, ...]]:
    seen_ids = report.seen_category_ids
    rows: list[tuple[Cell, ...]] = []
    for place, category in enumerate(report.categories):
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
                run.semantic.iou[place] if run.semantic else None,
                instance.ap if instance else None,
            )
        )
    return rows


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(text: str) -> str:
    """On one line, and no column of its own; angle brackets are no HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
