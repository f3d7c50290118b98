"""One image against its truth: encoded once, asked for every γ and task, and reduced to small tallies.

First the network answers, then its answers are compared with the truth; that needs no network and may run in
another thread. What comes out is an entry of the journal: it holds everything that the report needs of the
photo.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from ovrcoat.config import Trust
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.evaluation.journal import Entry
from ovrcoat.evaluation.metrics.error_analysis import diagnose, region_map
from ovrcoat.evaluation.metrics.mean_iou import MeanIou
from ovrcoat.evaluation.metrics.panoptic_quality import match_segments, with_areas
from ovrcoat.evaluation.plan import Plan, positions, present_only
from ovrcoat.evaluation.predictions import PredictionFolder
from ovrcoat.evaluation.prefetch import Sample
from ovrcoat.evaluation.reports.report import trust_key
from ovrcoat.formats.annotations import Record
from ovrcoat.postprocessing.mask_overlaps import Overlaps
from ovrcoat.results import InstanceResult, PanopticResult
from ovrcoat.segmentation.postprocess import Explanation
from ovrcoat.segmentation.segmenter import EncodedImage
from ovrcoat.vocabulary import Vocabulary

DETECTION_KEYS = ("category_id", "segmentation", "score")


@dataclass(frozen=True, slots=True, eq=False)
class ImagePredictions:
    """What the network says of one image: per γ (as `trust_key` writes it) a result of each task.

    `overlaps` are those of all masks with the true segments; None without panoptic truth. Semantic maps hold
    places among the data set's categories, -1 for void.
    """

    record: Record
    sample: Sample
    overlaps: Overlaps | None
    panoptic: Mapping[str, Explanation]
    semantic: Mapping[str, Int32[np.ndarray, "_ _"]]
    instance: Mapping[str, InstanceResult | None]
    seconds: float

    @property
    def nbytes(self) -> int:
        """How much memory they take with their image, more or less."""
        height, width, _ = self.sample.image.pixels.shape
        return self.sample.nbytes + 4 * height * width * (len(self.panoptic) + len(self.semantic))


class ImageScorer:
    """Scores image after image; `folders` take the panoptic predictions, by `trust_key`.

    Images may be asked about in one thread and scored in another.
    """

    def __init__(self, plan: Plan, folders: Mapping[str, PredictionFolder]) -> None:
        self._plan = plan
        self._folders = folders
        self._trusts = {trust_key(trust): trust for trust in plan.settings.trusts}
        self._positions = positions(plan.dataset.categories)
        self._names = [category.name for category in plan.dataset.categories]

    def ask(self, record: Record, sample: Sample) -> ImagePredictions:
        """Run the network, and answer every question of the plan.

        Raises:
            DatasetError: the truth contradicts itself.
        """
        started = time.perf_counter()
        tasks = self._plan.settings.tasks
        words = self._words(sample)
        encoded = self._plan.segmenter.encode(sample.image)
        overlaps = None
        panoptic, semantic, instance = {}, {}, {}
        if "panoptic" in tasks and (truth := sample.panoptic) is not None:
            overlaps = encoded.overlaps(region_map(truth), region_count=len(truth.segments))
            panoptic = {key: _explained(encoded, words, trust) for key, trust in self._trusts.items()}
        if "semantic" in tasks and sample.semantic is not None:
            semantic = {key: self._category_map(encoded, words, trust) for key, trust in self._trusts.items()}
        if "instance" in tasks:
            instance = {key: _instances(encoded, words, trust) for key, trust in self._trusts.items()}
        seconds = time.perf_counter() - started
        return ImagePredictions(record, sample, overlaps, panoptic, semantic, instance, seconds)

    def score(self, answers: ImagePredictions) -> Entry:
        """The journal's entry of one image.

        Raises:
            DatasetError: the truth contradicts itself.
            OutputError: a prediction cannot be written.
        """
        started = time.perf_counter()
        tasks, sample = self._plan.settings.tasks, answers.sample
        entry: Entry = {"image_id": answers.record.image_id}
        if answers.overlaps is not None and sample.panoptic is not None:
            entry |= self._panoptic(answers, truth=sample.panoptic, overlaps=answers.overlaps)
        if "semantic" in tasks and sample.semantic is not None:
            entry["semantic"] = self._semantic(answers, truth=sample.semantic)
        if "instance" in tasks:
            entry["instance"] = {key: _detections(result) for key, result in answers.instance.items()}
        return entry | {"seconds": round(answers.seconds + time.perf_counter() - started, 4)}

    def _words(self, sample: Sample) -> Vocabulary:
        """What this image is asked for."""
        words = self._plan.vocabulary
        if not self._plan.settings.oracle:
            return words
        if sample.panoptic is not None:
            return present_only(words, frozenset(s.category_id for s in sample.panoptic.segments))
        ids = [category.id for category in self._plan.dataset.categories]
        there = np.unique(sample.semantic) if sample.semantic is not None else ()
        return present_only(words, frozenset(ids[place] for place in there if place >= 0))

    def _panoptic(self, answers: ImagePredictions, *, truth: PanopticTruth, overlaps: Overlaps) -> Entry:
        record = answers.record
        areas = {s.id: area for s, area in zip(truth.segments, overlaps.regions.tolist(), strict=True)}
        differing = [
            f"{record.labels}: segment {s.id} has area {s.area} in the JSON, {areas[s.id]} pixels in the PNG"
            for s in truth.segments
            if s.area != areas[s.id]
        ]
        if self._plan.settings.areas == "png":
            truth = PanopticTruth(truth.id_map, with_areas(truth.segments, areas))
        tallies, lost = {}, {}
        for key, explanation in answers.panoptic.items():
            result = explanation.result
            match = match_segments(truth, result.id_map, {s.id: s.category_id for s in result.segments})
            tallies[key] = {str(id): [t.tp, t.fp, t.fn, t.iou_sum] for id, t in match.tallies.items()}
            diagnoses = diagnose(truth, match, explanation, overlaps) if explanation.explained_masks else []
            lost[key] = [[id, outcome.value] for id, outcome in diagnoses]
            if key in self._folders:
                self._folders[key].add(record, result.id_map, segments=result.segments)
        return {"panoptic": tallies, "error_analysis": lost, "areas_differ": differing}

    def _category_map(
        self, encoded: EncodedImage, words: Vocabulary, trust: Trust
    ) -> Int32[np.ndarray, "height width"]:
        """Per pixel the predicted category's place among the data set's; -1 is void."""
        if not words.categories:
            return np.full(encoded.sizes.output, -1, dtype=np.int32)
        # value in the result's map → place among the data set's categories
        places = np.array([-1, *(self._positions[category.id] for category in words.categories)], np.int32)
        result = encoded.segment(words, task="semantic", trust=trust, background=_background(words))
        return places[result.painted()]

    def _semantic(
        self, answers: ImagePredictions, *, truth: Int32[np.ndarray, "height width"]
    ) -> dict[str, list[list[int]]]:
        """Per γ: place of the true category, of the predicted one, pixels."""
        return {
            key: [list(cell) for cell in MeanIou(self._names).add(truth, predicted)]
            for key, predicted in answers.semantic.items()
        }


def _explained(encoded: EncodedImage, words: Vocabulary, trust: Trust) -> Explanation:
    """The panoptic answer; where the oracle knows of nothing, nothing is asked and nothing found."""
    if words.categories:
        return encoded.explain(words, trust=trust, background=_background(words))
    nothing = np.zeros(encoded.sizes.output, dtype=np.int32)
    return Explanation(PanopticResult(nothing, (), ()), explained_masks=())


def _instances(encoded: EncodedImage, words: Vocabulary, trust: Trust) -> InstanceResult | None:
    """The things; None where none is asked for."""
    if not any(category.is_thing for category in words.categories):
        return None
    result = encoded.segment(words, task="instance", trust=trust, background=_background(words))
    assert isinstance(result, InstanceResult)
    return result


def _detections(result: InstanceResult | None) -> list[Entry]:
    """Detections in COCO's results form, without image id and box."""
    found = result.to_coco() if result is not None else []
    return [{name: one[name] for name in DETECTION_KEYS} for one in found]


def _background(words: Vocabulary) -> str:
    """Background classes were chosen with the plan; "auto" leaves those that are there."""
    return "auto" if words.background else "none"
