"""Scores one image: encodes it once, predicts every task at every γ, and reduces the predictions to counts.

The work is split in two steps. `ImageScorer.predict` runs the network. `ImageScorer.score` compares the
predictions with the ground truth; it needs no network and can run in another thread. Its result is a journal
entry with everything that the report needs to know about the image.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from ovrcoat.config import Task, Trust
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.evaluation.journal_entry import Detection, JournalEntry, RunLengthMask
from ovrcoat.evaluation.metrics.error_analysis import CategoryOutcome, region_map, segment_outcomes
from ovrcoat.evaluation.metrics.mean_iou import Cell, MeanIou
from ovrcoat.evaluation.metrics.panoptic_quality import Match, match_segments, with_areas
from ovrcoat.evaluation.plan import EvaluationPlan, category_indices, restrict_to
from ovrcoat.evaluation.predictions import PredictionFolder
from ovrcoat.evaluation.prefetch import Sample
from ovrcoat.evaluation.reports.report import PanopticCounts, trust_key
from ovrcoat.formats.annotations import Record
from ovrcoat.postprocessing.mask_overlaps import Overlaps
from ovrcoat.postprocessing.mask_status import MaskOutcome
from ovrcoat.results import InstanceResult, PanopticResult, SemanticResult
from ovrcoat.segmentation.encoded_image import EncodedImage
from ovrcoat.segmentation.prompt import SegmentationPrompt
from ovrcoat.vocabulary import Vocabulary

PanopticPrediction = tuple[PanopticResult, tuple[MaskOutcome, ...]]  # the status of every mask


@dataclass(frozen=True, slots=True, eq=False)
class ImagePredictions:
    """The predictions for one image. Dictionaries are indexed by γ (see `trust_key`).

    Attributes:
        record: The image in the dataset.
        sample: The image and its ground truth.
        overlaps: Overlaps of all masks with the ground-truth segments; None without the panoptic task.
        panoptic: Panoptic results with the status of every mask.
        semantic: Index of the predicted category in the dataset for each pixel, -1 for void.
        instance: Instance results; None if the vocabulary contains no things.
        seconds: Time of the prediction.
    """

    record: Record
    sample: Sample
    overlaps: Overlaps | None
    panoptic: Mapping[str, PanopticPrediction]
    semantic: Mapping[str, Int32[np.ndarray, "_ _"]]
    instance: Mapping[str, InstanceResult | None]
    seconds: float

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes, including the image."""
        height, width, _ = self.sample.image.pixels.shape
        return self.sample.nbytes + 4 * height * width * (len(self.panoptic) + len(self.semantic))


class ImageScorer:
    """Predicts and scores images. `predict` and `score` may run in two different threads.

    Args:
        plan: What to evaluate.
        folders: Folders in which panoptic predictions are saved, by γ (see `trust_key`).
    """

    def __init__(self, plan: EvaluationPlan, folders: Mapping[str, PredictionFolder]) -> None:
        self._plan = plan
        self._folders = folders
        self._trusts = {trust_key(trust): trust for trust in plan.settings.trusts}
        self._category_indices = category_indices(plan.dataset.categories)
        self._names = [category.name for category in plan.dataset.categories]
        self._prompts: dict[tuple[Task, Trust], SegmentationPrompt] = {}

    def predict(self, record: Record, sample: Sample) -> ImagePredictions:
        """Run the network on one image, and predict every task of the plan at every γ."""
        started = time.perf_counter()
        tasks = self._plan.settings.tasks
        vocabulary = self._vocabulary_for(sample)
        encoded = self._plan.segmenter.encode(sample.image)
        overlaps = None
        panoptic, semantic, instance = {}, {}, {}
        if "panoptic" in tasks and (truth := sample.panoptic) is not None:
            overlaps = encoded.overlaps(region_map(truth), region_count=len(truth.segments))
            panoptic = {k: self._panoptic(encoded, vocabulary, trust) for k, trust in self._trusts.items()}
        if "semantic" in tasks and sample.semantic is not None:
            semantic = {k: self._category_map(encoded, vocabulary, t) for k, t in self._trusts.items()}
        if "instance" in tasks:
            instance = {k: self._instances(encoded, vocabulary, t) for k, t in self._trusts.items()}
        seconds = time.perf_counter() - started
        return ImagePredictions(record, sample, overlaps, panoptic, semantic, instance, seconds)

    def score(self, predictions: ImagePredictions) -> JournalEntry:
        """Compare the predictions for one image with its ground truth.

        Raises:
            DatasetError: The ground truth is inconsistent.
            OutputError: A prediction cannot be saved.
        """
        started = time.perf_counter()
        truth = predictions.sample.panoptic
        tallies: dict[str, dict[int, PanopticCounts]] = {}
        outcomes: dict[str, tuple[CategoryOutcome, ...]] = {}
        differing: tuple[str, ...] = ()
        if truth is not None and (overlaps := predictions.overlaps) is not None:
            truth, differing = self._check_areas(predictions.record, truth, overlaps)
            for key, (result, mask_outcomes) in predictions.panoptic.items():
                match = self._match(predictions.record, result, truth, key=key)
                tallies[key] = {id: (t.tp, t.fp, t.fn, t.iou_sum) for id, t in match.tallies.items()}
                outcomes[key] = (
                    tuple(segment_outcomes(truth, match, mask_outcomes, overlaps)) if mask_outcomes else ()
                )
        semantic = self._confusion_cells(predictions)
        instance = {key: _detections(result) for key, result in predictions.instance.items()}
        return JournalEntry(
            image_id=predictions.record.image_id,
            content=predictions.sample.content,
            seconds=round(predictions.seconds + time.perf_counter() - started, 4),
            panoptic=tallies,
            error_analysis=outcomes,
            areas_differ=differing,
            semantic=semantic,
            instance=instance,
        )

    def _vocabulary_for(self, sample: Sample) -> Vocabulary:
        """Return the vocabulary for one image, which depends on its ground truth in the oracle protocol."""
        vocabulary = self._plan.vocabulary
        if not self._plan.settings.oracle:
            return vocabulary
        if sample.panoptic is not None:
            return restrict_to(vocabulary, frozenset(s.category_id for s in sample.panoptic.segments))
        ids = [category.id for category in self._plan.dataset.categories]
        present = np.unique(sample.semantic) if sample.semantic is not None else ()
        return restrict_to(vocabulary, frozenset(ids[index] for index in present if index >= 0))

    def _prompt(self, vocabulary: Vocabulary, task: Task, trust: Trust) -> SegmentationPrompt:
        """Return the prompt for a task and a γ; images with the same vocabulary share it."""
        if vocabulary is not self._plan.vocabulary:
            return self._encode_prompt(vocabulary, task, trust)
        if (task, trust) not in self._prompts:
            self._prompts[task, trust] = self._encode_prompt(vocabulary, task, trust)
        return self._prompts[task, trust]

    def _encode_prompt(self, vocabulary: Vocabulary, task: Task, trust: Trust) -> SegmentationPrompt:
        # the plan has chosen the background classes, and "auto" keeps existing ones
        background = "auto" if vocabulary.background else "none"
        return self._plan.segmenter.prompt(vocabulary, task=task, trust=trust, background=background)

    def _panoptic(self, encoded: EncodedImage, vocabulary: Vocabulary, trust: Trust) -> PanopticPrediction:
        """Predict panoptic segments; none if the oracle vocabulary is empty."""
        if vocabulary.categories:
            return encoded.predict_with_outcomes(self._prompt(vocabulary, "panoptic", trust))
        void = np.zeros(encoded.sizes.output, dtype=np.int32)
        return PanopticResult(void, (), ()), ()

    def _category_map(
        self, encoded: EncodedImage, vocabulary: Vocabulary, trust: Trust
    ) -> Int32[np.ndarray, "height width"]:
        """Predict the category of each pixel as its index in the dataset; -1 is void."""
        if not vocabulary.categories:
            return np.full(encoded.sizes.output, -1, dtype=np.int32)
        result = encoded.predict(self._prompt(vocabulary, "semantic", trust))
        assert isinstance(result, SemanticResult)
        # value in the map of the result → index in the dataset
        indices = [-1, *(self._category_indices[category.id] for category in vocabulary.categories)]
        return np.array(indices, np.int32)[result.segment_map()]

    def _instances(
        self, encoded: EncodedImage, vocabulary: Vocabulary, trust: Trust
    ) -> InstanceResult | None:
        """Predict instances; None if the vocabulary contains no things."""
        if not any(category.is_thing for category in vocabulary.categories):
            return None
        result = encoded.predict(self._prompt(vocabulary, "instance", trust))
        assert isinstance(result, InstanceResult)
        return result

    def _check_areas(
        self, record: Record, truth: PanopticTruth, overlaps: Overlaps
    ) -> tuple[PanopticTruth, tuple[str, ...]]:
        """Return the ground truth with the areas to use, and a description of each area that differs."""
        areas = {s.id: area for s, area in zip(truth.segments, overlaps.regions.tolist(), strict=True)}
        differing = tuple(
            f"{record.labels}: segment {s.id} has area {s.area} in the JSON, {areas[s.id]} pixels in the PNG"
            for s in truth.segments
            if s.area != areas[s.id]
        )
        if self._plan.settings.areas == "png":
            truth = PanopticTruth(truth.id_map, with_areas(truth.segments, areas))
        return truth, differing

    def _match(self, record: Record, result: PanopticResult, truth: PanopticTruth, *, key: str) -> Match:
        """Match a panoptic result with the ground truth, and save it if requested."""
        match = match_segments(truth, result.id_map, {s.id: s.category_id for s in result.segments})
        if key in self._folders:
            self._folders[key].add(record, result.id_map, segments=result.segments)
        return match

    def _confusion_cells(self, predictions: ImagePredictions) -> dict[str, tuple[Cell, ...]]:
        truth = predictions.sample.semantic
        if truth is None:
            return {}
        return {
            key: MeanIou(self._names).add(truth, predicted) for key, predicted in predictions.semantic.items()
        }


def _detections(result: InstanceResult | None) -> tuple[Detection, ...]:
    if result is None:
        return ()
    return tuple(
        Detection(
            category_id=annotation["category_id"],
            segmentation=RunLengthMask.model_validate(annotation["segmentation"]),
            score=annotation["score"],
        )
        for annotation in result.to_coco()
    )
