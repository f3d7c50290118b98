"""Opens and checks the datasets of a stage; what identifies their content for resuming and for provenance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovrcoat.checkpoints.training_record import TrainingData
from ovrcoat.training.config import DataConfig, StageConfig
from ovrcoat.training.copy_paste import CopyPaste, Donor
from ovrcoat.training.crops import Crop, Cropper
from ovrcoat.training.data_checks import DataSummary, check_data
from ovrcoat.training.photometric import Photometric
from ovrcoat.training.samples import Samples, map_categories
from ovrcoat.training.sources import ImageSource, open_source
from ovrcoat.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class StageData:
    """The datasets of a stage.

    Attributes:
        sources: the opened datasets.
        category_maps: for each, category id → index in the training vocabulary.
        fingerprints: for each, `Dataset.fingerprint`; empty in all processes but the main one, because the
            fingerprints read all label files.
        summary: what the check found; None if the data was not checked.
    """

    sources: tuple[ImageSource, ...]
    category_maps: tuple[dict[int, int], ...]
    fingerprints: tuple[str, ...]
    summary: DataSummary | None

    def samples(self, settings: StageConfig, *, seed: int) -> Samples:
        """Return the training samples."""
        croppers = [Cropper(settings.crop, category_map=mapping) for mapping in self.category_maps]
        return Samples(self.sources, croppers, seed=seed, augmentations=self._augmentations(settings))

    def _augmentations(self, settings: StageConfig) -> list[Callable[[Crop], Crop]]:
        """Return the functions that change every crop, in their order."""
        augmentations: list[Callable[[Crop], Crop]] = []
        if settings.copy_paste is not None:
            donors = [
                Donor(source, category_map=mapping)
                for source, mapping in zip(self.sources, self.category_maps, strict=True)
            ]
            augmentations.append(CopyPaste(settings.copy_paste, donors))
        if settings.photometric is not None:
            augmentations.append(Photometric(settings.photometric))
        return augmentations

    def content(self) -> list[dict[str, Any]] | None:
        """Return what a resumed run must share: the content of the datasets, but not their paths."""
        if not self.fingerprints:
            return None
        return [
            {"name": source.dataset.name, "images": len(source.dataset), "fingerprint": fingerprint}
            for source, fingerprint in zip(self.sources, self.fingerprints, strict=True)
        ]

    def record(self) -> Sequence[TrainingData]:
        """Return the entries for the provenance of a checkpoint."""
        fingerprints = self.fingerprints or (None,) * len(self.sources)
        return [
            TrainingData(
                source.dataset.name,
                split=source.dataset.split,
                images=len(source.records),
                held_out=source.held_out,
                fingerprint=fingerprint,
            )
            for source, fingerprint in zip(self.sources, fingerprints, strict=True)
        ]


class DataOpener:
    """Opens the datasets of all stages, each only once.

    Args:
        base: folder that relative paths refer to.
        vocabulary: the training classes.
        is_main: whether this is the main process, which checks the data and computes fingerprints for all.
    """

    def __init__(self, base: Path, vocabulary: Vocabulary, *, is_main: bool) -> None:
        self._base, self._vocabulary, self._is_main = base, vocabulary, is_main
        self._opened: dict[str, ImageSource] = {}
        self._fingerprints: dict[tuple[str, str | None, str | None], str] = {}

    def open(self, settings: StageConfig, *, check: bool) -> StageData:
        """Open the datasets of a stage.

        Args:
            settings: of the stage.
            check: check files and labels (`data_checks.check_data`).

        Raises:
            ConfigError: an environment variable in a path is not set.
            DatasetError: a dataset is missing or damaged, all its images are held out, or the check failed.
        """
        sources = []
        for data in settings.data:
            identity = data.model_dump_json()
            if identity not in self._opened:
                self._opened[identity] = open_source(data, base=self._base)
            source = self._opened[identity]
            sources.append(source)
        maps = tuple(
            map_categories(source.dataset.categories, self._vocabulary.categories) for source in sources
        )
        names = [category.name for category in self._vocabulary.categories]
        summary = check_data(sources, maps, class_names=names) if check and self._is_main else None
        fingerprints = (
            [self._fingerprint(*pair) for pair in zip(settings.data, sources, strict=True)]
            if self._is_main
            else []
        )
        return StageData(tuple(sources), maps, tuple(fingerprints), summary)

    def _fingerprint(self, data: DataConfig, source: ImageSource) -> str:
        key = (data.path, data.root, data.split)
        if key not in self._fingerprints:
            self._fingerprints[key] = source.dataset.fingerprint()
        return self._fingerprints[key]
