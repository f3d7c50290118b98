"""Evaluation during training. It is for monitoring only and never selects a checkpoint."""

from collections.abc import Callable
from pathlib import Path

from ovrcoat.config import ModelConfig
from ovrcoat.data.dataset import Dataset
from ovrcoat.evaluation.evaluator import evaluate
from ovrcoat.evaluation.plan import EvaluationSettings
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.training.config import ValidationConfig
from ovrcoat.training.step_log import append_line
from ovrcoat.vocabulary import Vocabulary

VALIDATION_FILE = "validation.jsonl"


class Validation:
    """Evaluates the network every `settings.every` steps and appends the results to `VALIDATION_FILE`.

    Args:
        network: the network that is being trained.
        config: its configuration.
        dataset: images to evaluate on.
        settings: interval and number of images.
        vocabulary: the training classes.
        folder: of the stage.
        restore_training_mode: called after an evaluation, which leaves the network in eval mode.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        config: ModelConfig,
        dataset: Dataset,
        *,
        settings: ValidationConfig,
        vocabulary: Vocabulary,
        folder: Path,
        restore_training_mode: Callable[[], object],
    ) -> None:
        self.segmenter = Segmenter(
            network,
            config=config,
            training_vocabulary=vocabulary,
            provenance={},
            device=network.encoder.device,
        )
        self.dataset, self.settings, self.folder = dataset, settings, folder
        self.restore_training_mode = restore_training_mode

    def __call__(self, steps_done: int) -> None:
        """Evaluate if an interval is complete."""
        if steps_done % self.settings.every:
            return
        self.segmenter.network.eval()
        report = evaluate(
            self.segmenter, self.dataset, settings=EvaluationSettings(limit=self.settings.limit)
        )
        quality = {
            str(run.trust): run.panoptic.groups["All"].pq for run in report.runs if run.panoptic is not None
        }
        append_line(self.folder / VALIDATION_FILE, {"steps": steps_done, "pq": quality})
        self.restore_training_mode()
