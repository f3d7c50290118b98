"""One photo against its truth: encoded once, asked for every γ and task, and reduced to small tallies.

What comes out is an entry of the journal: it holds everything that the report needs of the photo.
"""

import time
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int32

from ovrcoat.answers import Explanation
from ovrcoat.data.dataset import Record
from ovrcoat.data.truth import PanopticTruth
from ovrcoat.evaluation.journal import Entry
from ovrcoat.evaluation.lost_masks import diagnose, region_map
from ovrcoat.evaluation.mean_iou import MeanIou
from ovrcoat.evaluation.panoptic_quality import match_segments, with_areas
from ovrcoat.evaluation.plan import Plan, positions, present_only
from ovrcoat.evaluation.predictions import PredictionFolder
from ovrcoat.evaluation.reading_ahead import Sample
from ovrcoat.evaluation.report import trust_key
from ovrcoat.questions import Trust
from ovrcoat.results import InstanceResult, PanopticResult
from ovrcoat.segmenter import EncodedImage
from ovrcoat.vocabulary import Vocabulary

DETECTION_KEYS = ("category_id", "segmentation", "score")


class PhotoScorer:
    """Scores photo after photo; `folders` take the panoptic predictions, by `trust_key`."""

    def __init__(self, plan: Plan, folders: Mapping[str, PredictionFolder]) -> None:
        self._plan = plan
        self._folders = folders
        self._trusts = {trust_key(trust): trust for trust in plan.settings.trusts}
        self._positions = positions(plan.dataset.categories)
        self._names = [category.name for category in plan.dataset.categories]

    def score(self, record: Record, sample: Sample) -> Entry:
        """The journal's entry of one photo.

        Raises:
            DatasetError: the truth contradicts itself.
        """
        started = time.perf_counter()
        tasks = self._plan.settings.tasks
        words = self._words(sample)
        encoded = self._plan.segmenter.encode(sample.photo)
        entry: Entry = {"image_id": record.image_id}
        if "panoptic" in tasks and sample.panoptic is not None:
            entry |= self._panoptic(record, encoded, truth=sample.panoptic, words=words)
        if "semantic" in tasks and sample.semantic is not None:
            entry["semantic"] = self._semantic(encoded, truth=sample.semantic, words=words)
        if "instance" in tasks:
            entry["instance"] = self._instance(encoded, words=words)
        return entry | {"seconds": round(time.perf_counter() - started, 4)}

    def _words(self, sample: Sample) -> Vocabulary:
        """What this photo is asked for."""
        words = self._plan.vocabulary
        if not self._plan.settings.oracle:
            return words
        if sample.panoptic is not None:
            return present_only(words, frozenset(s.category_id for s in sample.panoptic.segments))
        ids = [category.id for category in self._plan.dataset.categories]
        there = np.unique(sample.semantic) if sample.semantic is not None else ()
        return present_only(words, frozenset(ids[place] for place in there if place >= 0))

    def _panoptic(
        self, record: Record, encoded: EncodedImage, *, truth: PanopticTruth, words: Vocabulary
    ) -> Entry:
        overlaps = encoded.overlaps(region_map(truth), region_count=len(truth.segments))
        areas = {s.id: area for s, area in zip(truth.segments, overlaps.regions.tolist(), strict=True)}
        differing = [
            f"{record.labels}: segment {s.id} has area {s.area} in the JSON, {areas[s.id]} pixels in the PNG"
            for s in truth.segments
            if s.area != areas[s.id]
        ]
        if self._plan.settings.areas == "png":
            truth = PanopticTruth(truth.id_map, with_areas(truth.segments, areas))
        tallies, lost = {}, {}
        for key, trust in self._trusts.items():
            explanation = self._explained(encoded, words, trust)
            result = explanation.result
            match = match_segments(truth, result.id_map, {s.id: s.category_id for s in result.segments})
            tallies[key] = {str(id): [t.tp, t.fp, t.fn, t.iou_sum] for id, t in match.tallies.items()}
            diagnoses = diagnose(truth, match, explanation, overlaps) if explanation.fates else []
            lost[key] = [[id, outcome.value] for id, outcome in diagnoses]
            if key in self._folders:
                self._folders[key].add(record, result.id_map, segments=result.segments)
        return {"panoptic": tallies, "lost_masks": lost, "areas_differ": differing}

    def _explained(self, encoded: EncodedImage, words: Vocabulary, trust: Trust) -> Explanation:
        """The panoptic answer; where the oracle knows of nothing, nothing is asked and nothing found."""
        if words.categories:
            return encoded.explain(words, trust=trust, background=_background(words))
        nothing = np.zeros(encoded.sizes.output, dtype=np.int32)
        return Explanation(PanopticResult(nothing, (), ()), fates=())

    def _semantic(
        self, encoded: EncodedImage, *, truth: Int32[np.ndarray, "height width"], words: Vocabulary
    ) -> dict[str, list[list[int]]]:
        """Per γ: place of the true category, of the predicted one, pixels."""
        # value in the result's map → place among the data set's categories
        places = np.array([-1, *(self._positions[category.id] for category in words.categories)], np.int32)
        cells = {}
        for key, trust in self._trusts.items():
            predicted = np.full_like(truth, -1)
            if words.categories:
                result = encoded.segment(words, task="semantic", trust=trust, background=_background(words))
                predicted = places[result.painted()]
            cells[key] = [list(cell) for cell in MeanIou(self._names).add(truth, predicted)]
        return cells

    def _instance(self, encoded: EncodedImage, *, words: Vocabulary) -> dict[str, list[Entry]]:
        """Per γ: detections in COCO's results form, without photo id and box."""
        detections = {}
        for key, trust in self._trusts.items():
            found: list[Entry] = []
            if any(category.is_thing for category in words.categories):
                result = encoded.segment(words, task="instance", trust=trust, background=_background(words))
                assert isinstance(result, InstanceResult)
                found = result.to_coco()
            detections[key] = [{name: one[name] for name in DETECTION_KEYS} for one in found]
        return detections


def _background(words: Vocabulary) -> str:
    """Hidden words were chosen with the plan; "auto" leaves those that are there."""
    return "auto" if words.hidden else "none"
