"""Looking at the model while it trains: panoptic quality every so often. It never chooses a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path

from ovrcoat.config import ModelConfig
from ovrcoat.data.dataset import Dataset
from ovrcoat.evaluation.evaluator import evaluate
from ovrcoat.evaluation.plan import EvaluationSettings
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.training.config import ValidationConfig
from ovrcoat.vocabulary import Vocabulary


class Validation:
    """Evaluates `network` on `dataset` every so many steps, and appends the figures to validation.jsonl."""

    def __init__(
        self,
        network: SegmentationNetwork,
        config: ModelConfig,
        dataset: Dataset,
        *,
        settings: ValidationConfig,
        vocabulary: Vocabulary,
        folder: Path,
        afterwards: Callable[[], object],
    ) -> None:
        self.segmenter = Segmenter(
            network,
            config=config,
            training_vocabulary=vocabulary,
            provenance={},
            device=network.encoder.device,
        )
        self.dataset, self.settings, self.folder, self.afterwards = dataset, settings, folder, afterwards

    def __call__(self, steps_done: int) -> None:
        """Evaluate, if it is time; the network goes on training as before."""
        if steps_done % self.settings.every:
            return
        self.segmenter.network.eval()
        report = evaluate(
            self.segmenter, self.dataset, settings=EvaluationSettings(limit=self.settings.limit)
        )
        figures = {
            str(run.trust): run.panoptic.groups["All"].pq for run in report.runs if run.panoptic is not None
        }
        with (self.folder / "validation.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"steps": steps_done, "pq": figures}) + "\n")
        self.afterwards()
