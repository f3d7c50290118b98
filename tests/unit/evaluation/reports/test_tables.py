import csv

import pytest

from ovrcoat.evaluation.reports.tables import (
    CSV_COLUMNS,
    align_columns,
    format_csv,
    format_markdown,
    format_text,
    one_decimal,
)
from ovrcoat.issues import Issue
from sample_reports import random_report


def test_the_terminal_shows_every_run_in_percent():
    report = random_report(1)
    text = format_text(report)
    for title in ("γ = 0, panoptic quality (%)", "γ = 0.5, panoptic quality (%)", "γ = 0.5, mask AP (%)"):
        assert title in text.splitlines()
    all_line = next(line for line in text.splitlines() if line.startswith("All "))
    scores = report.runs[0].panoptic.groups["All"]
    assert all_line.split() == [
        "All",
        *(f"{100 * value:.1f}" for value in (scores.pq, scores.sq, scores.rq)),
        str(scores.n),
    ]


def test_outcomes_have_counts_and_shares():
    lines = format_text(random_report(1)).splitlines()
    start = lines.index("γ = 0, outcomes of ground-truth segments")
    assert lines[start + 1].split() == ["All", "share", "Seen", "share"]
    assert lines[start + 2].split() == ["found", "3", "75.0", "%", "0", "-"]


def test_issues_are_listed():
    issue = Issue("warning", "areas-differ", "areas differ", ["image 1"], 7)
    report = random_report(0).model_copy(update={"issues": (issue,)})
    assert format_text(report).endswith("warning: areas differ (7 ×: image 1 …)")
    assert "- warning: areas differ" in format_markdown(report)


def test_markdown_has_settings_and_even_tables():
    text = format_markdown(random_report(1))
    assert "| short_side | 64 |" in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.strip().splitlines()}) == 1


def test_markdown_escapes_names():
    report = random_report(0)
    strange = report.model_copy(update={"model": report.model.model_copy(update={"name": "a|b\n<img>"})})
    assert "# Evaluation of a\\|b &lt;img> on toys" in format_markdown(strange)


def test_csv_has_a_line_per_run_and_category():
    report = random_report(1)
    rows = list(csv.DictReader(format_csv(report).splitlines()))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [(row["trust"], row["id"]) for row in rows] == [
        (trust, id) for trust in ("0", "0.5") for id in ("1", "7", "40", "41")
    ]
    cat, dog, _, road = rows[:4]
    score = report.runs[0].panoptic.per_class[1]
    assert (cat["name"], cat["isthing"], cat["seen"], dog["seen"]) == ("cat", "1", "1", "0")
    assert (int(cat["tp"]), float(cat["pq"])) == (score.tp, score.pq)
    assert float(cat["iou"]) == report.runs[0].semantic.iou[0]
    assert (cat["ap"], dog["ap"]) == ("12.5", "")
    assert (road["tp"], road["pq"], road["iou"]) == ("", "", "")


def test_tasks_that_were_not_evaluated_are_left_out():
    report = random_report(1)
    run = report.runs[0].model_copy(update={"semantic": None, "instance": None, "error_analysis": None})
    only = report.model_copy(update={"runs": (run,)})
    assert "semantic" not in format_text(only)
    assert "AP" not in format_text(only)
    assert "outcomes" not in format_markdown(only)
    nothing = only.model_copy(update={"runs": (run.model_copy(update={"panoptic": None}),)})
    assert format_csv(nothing).splitlines()[1] == "0,1,cat,1,1,,,,,,,,,"


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.0, "0.0"), (12.34, "12.3"), (100.0, "100.0")])
def test_one_decimal(value: float | None, text: str):
    assert one_decimal(value) == text


def test_columns_are_align_columns():
    assert align_columns([("", "PQ"), ("Things", "1.0")]) == ["         PQ", "Things  1.0"]
