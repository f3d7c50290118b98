"""Totals: turns journal entries into the numbers of the report, in one way for new and resumed images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ovrcoat.choices import Trust
from ovrcoat.evaluation.journal_entry import Detection, JournalEntry
from ovrcoat.evaluation.metrics.error_analysis import ErrorAnalysis
from ovrcoat.evaluation.metrics.mean_iou import MeanIou, tallies_from_cells
from ovrcoat.evaluation.metrics.panoptic_quality import PanopticQuality, Tally
from ovrcoat.evaluation.reports.report import (
    ErrorAnalysisScores,
    ImageTallies,
    InstanceScores,
    PanopticCounts,
    PanopticScores,
    RunReport,
    SemanticScores,
    trust_key,
)
from ovrcoat.evaluation.scoring.instances import Json, score_detections
from ovrcoat.formats.annotations import ImageId
from ovrcoat.issues import Issue, IssueList
from ovrcoat.vocabulary import Category


@dataclass(frozen=True, slots=True)
class Scope:
    """What is summed.

    Attributes:
        categories: of the dataset.
        seen_ids: categories to report as seen.
        trusts: the values of γ.
        tasks: "panoptic", "semantic", "instance".
        areas: which areas of ground-truth segments are used, see `EvaluationSettings`.
    """

    categories: Sequence[Category]
    seen_ids: frozenset[int]
    trusts: Sequence[Trust]
    tasks: Sequence[str]
    areas: Literal["json", "png"]


class Totals:
    """Sums the results of all images. Of each image it keeps only the counts, and the detections for AP.

    Args:
        scope: What is summed.
        keep_entries: Keep the entries, too.

    Attributes:
        entries: The entries by image id, if they are kept.
        images: Counts of the finished images by id, in the order in which they were added.
        skipped: Why images could not be evaluated, by id.
        issues: What the report should mention.
        seconds: Total time of all images, without reading them.
    """

    def __init__(self, scope: Scope, *, keep_entries: bool = False) -> None:
        self._scope = scope
        self._keep_entries = keep_entries
        categories = scope.categories
        self._ids = [category.id for category in categories]
        keys = [trust_key(trust) for trust in scope.trusts]
        self._running = {key: PanopticQuality() for key in keys}
        self._error_analysis = {key: ErrorAnalysis() for key in keys}
        self._semantic = {key: MeanIou([category.name for category in categories]) for key in keys}
        self._detections: dict[str, dict[ImageId, tuple[Detection, ...]]] = {key: {} for key in keys}
        self.images: dict[ImageId, ImageTallies] = {}
        self.entries: dict[ImageId, JournalEntry] = {}
        self.skipped: dict[ImageId, str] = {}
        self.issues = IssueList()
        self.seconds = 0.0

    def add(self, entry: JournalEntry) -> None:
        """Add one image."""
        self.seconds += entry.seconds
        if self._keep_entries:
            self.entries[entry.image_id] = entry
        self.images[entry.image_id] = ImageTallies(
            image_id=entry.image_id,
            panoptic=entry.panoptic,
            semantic={
                key: tallies_from_cells(cells, category_ids=self._ids)
                for key, cells in entry.semantic.items()
            },
        )
        for key, counts in entry.panoptic.items():
            self._running[key].add(_tallies(counts))
        for key, outcomes in entry.error_analysis.items():
            self._error_analysis[key].add(outcomes)
        for key, cells in entry.semantic.items():
            self._semantic[key].add_cells(cells)
        for key, detections in entry.instance.items():
            self._detections[key][entry.image_id] = detections
        for example in entry.areas_differ:
            self._report_area(example)

    def skip(self, image_id: ImageId, reason: str) -> None:
        """Report that an image is not part of the numbers."""
        self.skipped[image_id] = reason
        self.issues.add(
            "image-skipped",
            "images could not be evaluated and are missing from all numbers; repair them and run the same "
            "command again, which evaluates only them",
            example=f"{image_id}: {reason}",
        )

    def running_pq(self) -> dict[str, float]:
        """Return the mean PQ of the categories so far, in percent, by γ. Cheap to call."""
        return {key: _mean_pq(quality.tallies) for key, quality in self._running.items() if quality.tallies}

    def runs(self, image_ids: Sequence[ImageId], truth: Json) -> tuple[RunReport, ...]:
        """Compute the numbers of each γ.

        Args:
            image_ids: The images, all of which must have been added. Their order determines the last digits
                of the sums.
            truth: Their instances in COCO's format; empty without the instance task.

        Raises:
            DatasetError: The instance ground truth has errors.
        """
        tasks = self._scope.tasks
        return tuple(
            RunReport(
                trust=trust,
                panoptic=self._panoptic_scores(trust_key(trust), image_ids) if "panoptic" in tasks else None,
                semantic=self._semantic_scores(trust_key(trust)) if "semantic" in tasks else None,
                instance=(
                    self._instance_scores(trust_key(trust), truth, image_ids=image_ids)
                    if "instance" in tasks
                    else None
                ),
                error_analysis=self._error_analysis_scores(trust_key(trust)) if "panoptic" in tasks else None,
            )
            for trust in self._scope.trusts
        )

    def _panoptic_scores(self, key: str, image_ids: Sequence[ImageId]) -> PanopticScores:
        quality = PanopticQuality()
        for image_id in image_ids:
            quality.add(_tallies(self.images[image_id].panoptic[key]))
        report = quality.report(self._scope.categories, self._scope.seen_ids)
        return PanopticScores.model_validate(report)

    def _error_analysis_scores(self, key: str) -> ErrorAnalysisScores:
        return ErrorAnalysisScores.model_validate(self._error_analysis[key].report(self._scope.seen_ids))

    def _semantic_scores(self, key: str) -> SemanticScores:
        return SemanticScores.model_validate(self._semantic[key].report())

    def _instance_scores(self, key: str, truth: Json, *, image_ids: Sequence[ImageId]) -> InstanceScores:
        results = [
            detection.model_dump(mode="json") | {"image_id": image_id}
            for image_id in image_ids
            for detection in self._detections[key][image_id]
        ]
        report = score_detections(truth, results)
        for issue in report["issues"]:
            self._add_instance_issue(Issue(**issue), key)
        return InstanceScores.model_validate(report)

    def _add_instance_issue(self, issue: Issue, key: str) -> None:
        """Add an issue of the detections at one γ."""
        for occurrence in range(issue.count):
            example = issue.examples[min(occurrence, len(issue.examples) - 1)]
            self.issues.add(issue.code, issue.message, example=f"γ {key}: {example}", severity=issue.severity)

    def _report_area(self, example: str) -> None:
        recounted = self._scope.areas == "png"
        used = (
            "this report counts them from the PNG; published numbers use those in the JSON (--areas json)"
            if recounted
            else "this report uses those in the JSON, as published numbers do; --areas png recounts them"
        )
        self.issues.add(
            "areas-differ",
            f"areas of ground-truth segments in the JSON differ from the PNG; {used}",
            example=example,
            severity="note" if recounted else "warning",
        )


def _tallies(counts: Mapping[int, PanopticCounts]) -> dict[int, Tally]:
    return {category_id: Tally(*values) for category_id, values in counts.items()}


def _mean_pq(tallies: Mapping[int, Tally]) -> float:
    values = [tally.pq for tally in tallies.values() if tally.pq is not None]
    return 100 * sum(values) / len(values) if values else 0.0
