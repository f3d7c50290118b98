"""Settings of a batch run: everything besides the images that its rows depend on."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ovrcoat._version import __version__
from ovrcoat.batch.item import Item
from ovrcoat.batch.rows import Quarantined, Row, predict_rows
from ovrcoat.choices import ClassifyBy, DtypeName, Number, Task, Trust
from ovrcoat.segmentation.segmenter import Segmenter
from ovrcoat.system.fingerprints import module_fingerprint
from ovrcoat.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """Model, vocabulary and options; can be pickled, so that a worker process loads the same model.

    Attributes:
        vocabulary: with its background classes.
        model, masks, device, dtype, compile: see `Segmenter.load`.
        classify_by: see `InferenceConfig`.
        task, trust, object_mask_threshold, overlap_threshold, score_threshold: see `Segmenter.segment`.
        batch_size: maximum number of images per batch; does not change rows.
        embeddings, png: see `predict_rows`.
        threads: of the CPU per process; None: the library's default.
    """

    vocabulary: Vocabulary
    model: str = "nano"
    masks: str | None = None
    classify_by: ClassifyBy = "pooling"
    device: str | None = None
    dtype: DtypeName = "float32"
    compile: bool = False
    task: Task = "panoptic"
    trust: Trust | None = None
    object_mask_threshold: Number | None = None
    overlap_threshold: Number | None = None
    score_threshold: Number | None = None
    batch_size: int = 1
    embeddings: bool = False
    png: bool = False
    threads: int | None = None


class RowPredictor:
    """Loads a model once, and turns items into rows.

    Args:
        settings: of the run.

    Raises:
        OvrcoatError: the model, the vocabulary or an option cannot be used.
    """

    def __init__(self, settings: BatchSettings) -> None:
        if settings.threads is not None:
            import torch

            torch.set_num_threads(settings.threads)
        self._settings = settings
        self._segmenter = Segmenter.load(
            settings.model,
            masks=settings.masks,
            device=settings.device,
            dtype=settings.dtype,
            compile=settings.compile,
        ).with_settings(classify_by=settings.classify_by)
        self.prompt = self._segmenter.prompt(
            settings.vocabulary,
            task=settings.task,
            trust=settings.trust,
            background="keep",
            object_mask_threshold=settings.object_mask_threshold,
            overlap_threshold=settings.overlap_threshold,
            score_threshold=settings.score_threshold,
        )
        vocabulary = json.dumps(settings.vocabulary.to_dict(), sort_keys=True).encode()
        self._hashes = {
            "model": module_fingerprint(self._segmenter.network, None),
            "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
        }

    def check_items(self, items: Sequence[Item]) -> None:
        """Raise a `ConfigError` if masks come from files and two images would get the same ones."""
        if self._segmenter.mask_files is not None:
            self._segmenter.mask_files.check_names(item.path for item in items)

    def predict(self, items: list[Item]) -> tuple[list[Row], list[Quarantined]]:
        """Return the rows of readable images and the unreadable images, each in order."""
        rows: list[Row] = []
        quarantined: list[Quarantined] = []
        for outcome in predict_rows(
            self._segmenter,
            self.prompt,
            items,
            hashes=self._hashes,
            batch_size=self._settings.batch_size,
            embeddings=self._settings.embeddings,
            png=self._settings.png,
        ):
            if isinstance(outcome, Quarantined):
                quarantined.append(outcome)
            else:
                rows.append(outcome)
        return rows, quarantined

    def facts(self) -> dict[str, Any]:
        """Return what the rows depend on, for the record of the run."""
        prompt, files = self.prompt, self._segmenter.mask_files
        return {
            "ovrcoat": __version__,
            **self._hashes,
            "mask_files": None if files is None else files.fingerprint(),
            "classify_by": self._settings.classify_by,
            "dtype": self._settings.dtype,
            "embeddings": self._settings.embeddings,
            "png": self._settings.png,
            "task": prompt.task,
            "trust": prompt.trust,
            "object_mask_threshold": prompt.object_mask_threshold,
            "overlap_threshold": prompt.overlap_threshold,
            "score_threshold": prompt.score_threshold,
        }
