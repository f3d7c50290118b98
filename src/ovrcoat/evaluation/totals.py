"""Entries of the journal → the report's numbers, the same way for images of this and of an earlier run."""

from collections.abc import Mapping, Sequence
from typing import Any

from ovrcoat.evaluation.journal import Entry
from ovrcoat.evaluation.metrics.average_precision import InstanceAp
from ovrcoat.evaluation.metrics.error_analysis import ErrorAnalysis
from ovrcoat.evaluation.metrics.mean_iou import MeanIou, tallies_of
from ovrcoat.evaluation.metrics.panoptic_quality import PanopticQuality, Tally
from ovrcoat.evaluation.plan import Plan
from ovrcoat.evaluation.reports.report import (
    CountsOfCategory,
    ErrorAnalysisScores,
    ImageTallies,
    InstanceScores,
    PanopticScores,
    RunReport,
    SemanticScores,
    trust_key,
)
from ovrcoat.formats.annotations import ImageId, Record
from ovrcoat.issues import Issue, IssueList


class Totals:
    """Adds up what images gave; per image only its tallies stay (and its detections, which AP needs).

    Attributes:
        images: by image id, in the order in which they came.
        findings: what is doubtful or wrong.
        seconds: what the images took, summed up.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        categories = plan.dataset.categories
        self._ids = [category.id for category in categories]
        keys = [trust_key(trust) for trust in plan.settings.trusts]
        self._running = {key: PanopticQuality() for key in keys}
        self._lost = {key: ErrorAnalysis() for key in keys}
        self._semantic = {key: MeanIou([category.name for category in categories]) for key in keys}
        self._detections: dict[str, dict[ImageId, list[dict[str, Any]]]] = {key: {} for key in keys}
        self.images: dict[ImageId, ImageTallies] = {}
        self.issues = IssueList()
        self.seconds = 0.0

    def add(self, entry: Entry) -> None:
        """Count one image."""
        image_id = entry["image_id"]
        self.seconds += entry["seconds"]
        panoptic = {
            key: {int(id): tuple(tally) for id, tally in tallies.items()}
            for key, tallies in entry.get("panoptic", {}).items()
        }
        semantic = {
            key: tallies_of([_cell(cell) for cell in cells], category_ids=self._ids)
            for key, cells in entry.get("semantic", {}).items()
        }
        self.images[image_id] = ImageTallies(image_id=image_id, panoptic=panoptic, semantic=semantic)
        for key, tallies in panoptic.items():
            self._running[key].add(_tallies(tallies))
            self._lost[key].add((id, outcome) for id, outcome in entry["error_analysis"][key])
        for key, cells in entry.get("semantic", {}).items():
            self._semantic[key].add_cells([_cell(cell) for cell in cells])
        for key, detections in entry.get("instance", {}).items():
            self._detections[key][image_id] = detections
        for example in entry.get("areas_differ", ()):
            self._add_area(example)

    def leave_out(self, record: Record, reason: str) -> None:
        """Note that an image has no part in the numbers."""
        self.issues.add(
            "image-left-out",
            "images could not be evaluated, and every number here lacks them; repair them and run the same "
            "again: only they are evaluated then",
            example=f"{record.image_id}: {reason}",
        )

    def running_pq(self) -> dict[str, float]:
        """Mean PQ in percent over the categories so far, by `trust_key`: cheap enough for every photo."""
        return {key: _mean_pq(quality.tallies) for key, quality in self._running.items() if quality.tallies}

    def runs(self, records: Sequence[Record]) -> tuple[RunReport, ...]:
        """The numbers of every γ over `records`, all of which were added.

        Summed up in the order of `records`: in another one the last digits would differ.

        Raises:
            DatasetError: the truth of instances is faulty.
        """
        tasks = self._plan.settings.tasks
        truth = self._plan.dataset.instances(records) if "instance" in tasks else {}
        return tuple(
            RunReport(
                trust=trust,
                panoptic=self._panoptic_scores(trust_key(trust), records) if "panoptic" in tasks else None,
                semantic=self._semantic_scores(trust_key(trust)) if "semantic" in tasks else None,
                instance=(
                    self._instance_scores(trust_key(trust), truth, records=records)
                    if "instance" in tasks
                    else None
                ),
                error_analysis=self._lost_report(trust_key(trust)) if "panoptic" in tasks else None,
            )
            for trust in self._plan.settings.trusts
        )

    def _panoptic_scores(self, key: str, records: Sequence[Record]) -> PanopticScores:
        quality = PanopticQuality()
        for record in records:
            quality.add(_tallies(self.images[record.image_id].panoptic[key]))
        report = quality.report(self._plan.dataset.categories, self._plan.seen_ids)
        return PanopticScores.model_validate(report)

    def _lost_report(self, key: str) -> ErrorAnalysisScores:
        return ErrorAnalysisScores.model_validate(self._lost[key].report(self._plan.seen_ids))

    def _semantic_scores(self, key: str) -> SemanticScores:
        return SemanticScores.model_validate(self._semantic[key].report())

    def _instance_scores(
        self, key: str, truth: dict[str, Any], *, records: Sequence[Record]
    ) -> InstanceScores:
        metric = InstanceAp(truth)
        for record in records:
            metric.add(record.image_id, self._detections[key][record.image_id])
        report = metric.report()
        for issue in report["issues"]:
            self._add_instance_issue(Issue(**issue), key)
        return InstanceScores.model_validate(report)

    def _add_instance_issue(self, issue: Issue, key: str) -> None:
        """Take over a finding about the instances of one γ."""
        for place in range(issue.count):
            example = issue.examples[min(place, len(issue.examples) - 1)]
            self.issues.add(issue.code, issue.message, example=f"γ {key}: {example}", severity=issue.severity)

    def _add_area(self, example: str) -> None:
        counted = self._plan.settings.areas == "png"
        self.issues.add(
            "areas-differ",
            "areas of true segments in the JSON are not those of the PNG; here they were "
            + (
                "recounted from the PNG: published numbers have them from the JSON (--areas json)"
                if counted
                else "taken from the JSON, as published numbers have it; --areas png recounts them"
            ),
            example=example,
            severity="note" if counted else "warning",
        )


def _cell(values: Sequence[int]) -> tuple[int, int, int]:
    true, predicted, pixels = values
    return true, predicted, pixels


def _tallies(counts: Mapping[int, CountsOfCategory]) -> dict[int, Tally]:
    return {category_id: Tally(*values) for category_id, values in counts.items()}


def _mean_pq(tallies: Mapping[int, Tally]) -> float:
    values = [tally.pq for tally in tallies.values() if tally.pq is not None]
    return 100 * sum(values) / len(values) if values else 0.0
