import json

import pytest

from ovrcoat.errors import DatasetError
from ovrcoat.evaluation.reports.bootstrap import BootstrapSettings
from ovrcoat.evaluation.reports.compare import MIN_IMAGES, ComparedRun, Comparison, compare_runs
from ovrcoat.evaluation.reports.report import EvaluationReport
from sample_reports import CATEGORIES, random_report

SETTINGS = BootstrapSettings(samples=200, seed=1)


def compare(a: EvaluationReport, b: EvaluationReport, trusts=(0.5, 0.5), **options: object) -> Comparison:
    return compare_runs(ComparedRun(a, trusts[0]), ComparedRun(b, trusts[1]), settings=SETTINGS, **options)


def row_of(comparison: Comparison, metric: str, name: str):
    rows = (*comparison.groups, *comparison.categories)
    return next(row for row in rows if (row.metric, row.name) == (metric, name))


def changed(report: EvaluationReport, part: str | None = None, **changes: object) -> EvaluationReport:
    if part is None:
        return report.model_copy(update=changes)
    return report.model_copy(update={part: getattr(report, part).model_copy(update=changes)})


def test_numbers_are_those_of_the_reports():
    a, b = random_report(1), random_report(2)
    found = compare(a, b)
    for side, report in (("a", a), ("b", b)):
        run = report.run(0.5)
        for name, group in run.panoptic.groups.items():
            for metric in ("pq", "sq", "rq"):
                value = getattr(group, metric)
                ours = getattr(row_of(found, metric.upper(), name), side)
                assert ours == (None if value is None else pytest.approx(100 * value))
        assert getattr(row_of(found, "mIoU", "All"), side) == pytest.approx(run.semantic.mean_iou)
        assert getattr(row_of(found, "AP", "All"), side) == run.instance.stats["AP"]
        assert getattr(row_of(found, "PQ", "cat"), side) == pytest.approx(100 * run.panoptic.per_class[1].pq)
        assert getattr(row_of(found, "IoU", "sky"), side) == pytest.approx(run.semantic.iou[2])


def test_a_run_does_not_differ_from_itself():
    found = compare(random_report(1), random_report(1))
    rows = [row for row in (*found.groups, *found.categories) if row.difference is not None]
    assert rows
    assert {row.difference for row in rows} == {0}
    assert {row.interval for row in rows} <= {(0, 0), None}
    assert found.notes == ()


def test_two_trusts_of_one_report():
    report = random_report(4)
    found = compare(report, report, trusts=(0.0, 0.5))
    assert (found.a, found.b) == ("tiny, γ = 0", "tiny, γ = 0.5")
    row = row_of(found, "PQ", "All")
    assert row.difference == pytest.approx(row.b - row.a)
    assert row.interval[0] <= row.difference <= row.interval[1]
    assert row_of(found, "AP", "All").interval is None


def test_categories_are_sorted_by_descending_difference():
    found = compare(random_report(1), random_report(2))
    gains = [row.difference for row in found.categories if row.metric == "PQ"]
    assert gains == sorted(gains, reverse=True)
    assert "road" not in {row.name for row in found.categories}  # in no image


def test_few_images_give_no_interval():
    found = compare(random_report(1, images=MIN_IMAGES - 1), random_report(2, images=MIN_IMAGES - 1))
    assert {row.interval for row in found.groups} == {None}


def test_document_is_json():
    found = compare(random_report(1), random_report(2), training_counts={1: 5, 7: 50, 40: 0})
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["format"] == "ovrcoat comparison 2"
    assert document["groups"][0]["metric"] == "PQ"


# -- training frequency ----------------------------------------------------------------------------------


def test_gain_by_training_frequency():
    a, b = random_report(1), random_report(2)
    found = compare(a, b, training_counts={1: 5, 7: 50, 40: 0}).frequency
    by_name = {row.name: row for row in found.bins}
    assert list(by_name) == ["0", "1-10", "11-100", "101-1000", ">1000"]
    pq = {row.name: row for row in compare(a, b).categories if row.metric == "PQ"}
    assert by_name["1-10"].difference == pytest.approx(pq["cat"].difference)
    assert by_name["0"].difference == pytest.approx(pq["sky"].difference)  # "road" counts nothing
    assert by_name[">1000"].difference is None
    assert found.categories == 3
    # with three ranks the correlation is one of four values; it is 1 if gain goes with frequency
    counts = {"cat": 5, "dog": 50, "sky": 0}
    in_step = sorted(counts, key=lambda name: pq[name].difference) == sorted(counts, key=counts.get)
    assert (found.correlation == pytest.approx(1)) == in_step
    assert -1 <= found.correlation <= 1


def test_perfectly_ranked_gains_correlate():
    a, b = random_report(1), random_report(2)
    order = [row.category_id for row in compare(a, b).categories if row.metric == "PQ"]
    counts = {id: 10**place for place, id in enumerate(order)}  # the rarest category has the largest gain
    assert compare(a, b, training_counts=counts).frequency.correlation == pytest.approx(-1)


def test_no_correlation_without_differences():
    same = random_report(1)
    found = compare(same, same, training_counts={1: 5, 7: 50}).frequency
    assert (found.correlation, found.p_value) == (None, None)


# -- what cannot be compared -----------------------------------------------------------------------------


def test_different_data_are_rejected_unless_forced():
    a, b = random_report(1), changed(random_report(2), "data", fingerprint="beef", name="others")
    with pytest.raises(DatasetError, match=r"different data: toys \(feed.* and others \(beef\).*--force"):
        compare(a, b)
    assert "different data" in compare(a, b, force=True).notes[0]


def test_different_images_are_rejected_unless_forced():
    a = random_report(1)
    b = changed(random_report(2), images=random_report(2).images[:7])
    with pytest.raises(DatasetError, match=r"A has 12 images and B has 7, of which 7 are in both"):
        compare(a, b)
    found = compare(a, b, force=True)
    assert found.images == 7
    assert "7 images that both runs have" in found.notes[0]
    assert "AP" not in {row.metric for row in found.groups}
    with pytest.raises(DatasetError, match="no image in common"):
        compare(a, changed(b, images=()), force=True)


def test_different_categories_are_always_rejected():
    b = random_report(2)
    vocabulary = dict(b.vocabulary)
    vocabulary["categories"] = vocabulary["categories"][:3]
    with pytest.raises(DatasetError, match=r"different categories \(4: 1, 7, 40, 41 and 3: 1, 7, 40\)"):
        compare(random_report(1), changed(b, vocabulary=vocabulary), force=True)


def test_no_common_task_is_rejected():
    def only(report: EvaluationReport, task: str) -> EvaluationReport:
        others = {"panoptic", "semantic", "instance"} - {task}
        runs = tuple(run.model_copy(update=dict.fromkeys(others)) for run in report.runs)
        return changed(report, runs=runs)

    with pytest.raises(DatasetError, match="no task in common"):
        compare(only(random_report(1), "panoptic"), only(random_report(2), "semantic"))
    found = compare(only(random_report(1), "semantic"), random_report(2), training_counts={1: 5})
    assert {row.metric for row in found.groups} == {"mIoU"}
    assert {row.metric for row in found.frequency.bins} == {"mIoU"}


def test_other_differences_are_noted():
    b = changed(random_report(2), protocol={"short_side": 800, "oracle": True}, seen_category_ids=(1,))
    notes = compare(random_report(1), b).notes
    assert len(notes) == 4
    assert "Seen and Unseen are those of A" in notes[0]
    assert "the setting short_side differs: 64 and 800" in notes
    assert [category.name for category in CATEGORIES] == ["cat", "dog", "sky", "road"]
