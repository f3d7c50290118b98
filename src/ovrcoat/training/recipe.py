"""A whole training: from a configuration to checkpoints, stage after stage."""

import importlib.util
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ovrcoat._version import __version__
from ovrcoat.atomic import write_atomically
from ovrcoat.checkpoints import native
from ovrcoat.errors import MissingExtraError
from ovrcoat.extras import require
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.model.text_classifier import embed_categories
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.training.activations import recompute_activations
from ovrcoat.training.config import StageConfig, TrainConfig
from ovrcoat.training.copy_paste import CopyPaste, Donor
from ovrcoat.training.crops import Crop, Cropper
from ovrcoat.training.named_photos import NamedPhotos, open_named_photos
from ovrcoat.training.objective import Objective
from ovrcoat.training.photometric import Photometric
from ovrcoat.training.samples import Samples, category_numbers
from ovrcoat.training.sources import PhotoSource, Source, beside, open_data, open_source
from ovrcoat.training.stages import stage_of
from ovrcoat.training.start import Start, start
from ovrcoat.training.state import check_settings
from ovrcoat.training.trainer import Habits, StageTrainer
from ovrcoat.training.watch import Watch
from ovrcoat.vocabulary import Vocabulary

MODEL_FILE = "model.safetensors"
SETTINGS_FILE = "settings.json"
NEUTRAL = {"watch"}  # settings of a stage that change no result


@dataclass(frozen=True, slots=True)
class StageNews:
    """What is told when a stage begins, or is found finished; counts of photos, words and parameters."""

    name: str
    steps: int
    steps_done: int
    finished: bool = False  # by an earlier run: nothing is counted below
    photos: int = 0
    categories: int = 0
    trained: int = 0
    parameters: int = 0


def train(
    config: TrainConfig,
    *,
    base: Path = Path(),
    progress: bool = False,
    tell: Callable[[StageNews], None] = lambda news: None,
) -> Path:
    """Run all stages; returns the last one's checkpoint. A stage that is finished is not run again.

    Every stage has a folder below `config.output`: log.jsonl, state.pt (to resume from), model.safetensors.
    Relative paths in `config` are relative to `base`; the output folder is relative to the current one.
    `tell` hears of every stage on the main process.

    Raises:
        ConfigError: something in `config` does not exist or does not fit.
        DatasetError: a data set is missing or damaged.
        TrainingError: a loss is not finite, or a folder holds another training.
        MissingExtraError: accelerate is not installed.
    """
    accelerator = make_accelerator(config)
    torch.manual_seed(config.seed)
    vocabulary = Vocabulary.read(beside(config.vocabulary, base))
    output = Path(config.output)
    model = start(config.start, base=base, folder=output / "start", seed=config.seed)
    for settings in config.stages:
        folder = output / settings.name
        run = StageRun(model, settings, config, vocabulary=vocabulary, base=base)
        announce = tell if accelerator.is_main_process else _nothing
        if (folder / MODEL_FILE).is_file():
            run.check_finished(folder)
            steps = settings.schedule.steps
            announce(StageNews(settings.name, steps, steps_done=steps, finished=True))
        else:
            if config.checkpoint_activations:
                recompute_activations(model.network)
            run.train(accelerator, folder=folder, progress=progress, tell=announce)
            if accelerator.is_main_process:
                run.write(folder / MODEL_FILE)
            accelerator.wait_for_everyone()
        loaded = native.load(folder / MODEL_FILE)
        model = Start(loaded.network, loaded.config, loaded.provenance)
    accelerator.end_training()
    return output / config.stages[-1].name / MODEL_FILE


def make_accelerator(config: TrainConfig) -> Any:
    """Hugging Face's Accelerator: knows processes and devices. Precision and gradients are ours.

    Raises:
        MissingExtraError: it is not installed.
    """
    accelerate = require("accelerate", extra="train")
    for tracker in config.trackers:  # accelerate would go on without it, in silence
        if not importlib.util.find_spec(tracker):
            raise MissingExtraError(f"the tracker {tracker!r} is not installed. Run: pip install {tracker}")
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    accelerator = accelerate.Accelerator(
        # without being told, accelerate lets processes without a GPU train apart, each a model of its own
        cpu=launched and not torch.cuda.is_available(),
        log_with=list(config.trackers) or None,
        project_dir=config.output,
        step_scheduler_with_optimizer=False,
    )
    if config.trackers:
        accelerator.init_trackers("ovrcoat", config={"seed": config.seed, "start": str(config.start)})
    return accelerator


class StageRun:
    """One stage of a recipe: its data, its words in text space, and where its checkpoint goes."""

    def __init__(
        self,
        model: Start,
        settings: StageConfig,
        config: TrainConfig,
        *,
        vocabulary: Vocabulary,
        base: Path,
    ) -> None:
        self.model, self.settings, self.config = model, settings, config
        self.vocabulary, self.base = vocabulary, base

    def train(
        self, accelerator: Any, *, folder: Path, progress: bool, tell: Callable[[StageNews], None]
    ) -> None:
        """Train to the end, from where an earlier run stopped."""
        folder.mkdir(parents=True, exist_ok=True)
        network = self.model.network.to(accelerator.device).to(memory_format=torch.channels_last)
        named = self.named_photos()
        templates = self.model.config.templates
        objective = Objective(
            network,
            self.settings,
            categories=embed_vocabulary(network, self.vocabulary, templates),
            bfloat16=self.config.precision == "bfloat16",
            image_names=None if named is None else embed_vocabulary(network, named.vocabulary, templates),
        )
        samples = self.samples(named)
        trainer = StageTrainer(
            objective,
            stage_of(self.settings),
            samples,
            accelerator=accelerator,
            seed=self.config.seed,
            habits=Habits(
                folder=folder,
                save_every=self.config.save_every,
                workers=self.config.workers,
                fingerprint=self.fingerprint(),
                progress=progress,
                after_step=self.watcher(network, folder=folder) if accelerator.is_main_process else _nothing,
            ),
        )
        tell(
            StageNews(
                self.settings.name,
                self.settings.schedule.steps,
                steps_done=trainer.first_step,
                photos=sum(len(source.records) for source in samples.sources),
                categories=len(self.vocabulary),
                trained=sum(parameter.numel() for parameter in trainer.trained.values()),
                parameters=sum(parameter.numel() for parameter in network.parameters()),
            )
        )
        trainer.run()

    def named_photos(self) -> NamedPhotos | None:
        """Photos with one name each, if this stage has any.

        Raises:
            DatasetError: the folder is missing or faulty, or no photo of it is left to train on.
        """
        ovr = self.settings.ovr
        if ovr is None or ovr.image_names is None:
            return None
        return open_named_photos(ovr.image_names, base=self.base)

    def samples(self, named: NamedPhotos | None = None) -> Samples:
        """Crops of all data sets of this stage, and of named photos.

        Raises:
            DatasetError: a data set is missing, or no photo of it is left to train on.
        """
        crop = self.settings.crop
        labelled = [open_source(data, base=self.base) for data in self.settings.data]
        sources: list[PhotoSource] = [*labelled]
        croppers = [
            Cropper(
                crop,
                category_numbers=category_numbers(source.dataset.categories, self.vocabulary.categories),
            )
            for source in labelled
        ]
        if named is not None:
            # the name is that of the whole photo, so all of it has to be seen
            whole = crop.model_copy(update={"scales": (1.0, 1.0), "fit": "inside"})
            sources.append(named)
            croppers.append(Cropper(whole, category_numbers={}))
        augmentations = self.augmentations(labelled, croppers)
        return Samples(sources, croppers, seed=self.config.seed, augmentations=augmentations)

    def augmentations(
        self, labelled: Sequence[Source], croppers: Sequence[Cropper]
    ) -> list[Callable[[Crop], Crop]]:
        """What is done to every crop after it is cut."""
        chosen: list[Callable[[Crop], Crop]] = []
        if self.settings.copy_paste is not None:
            donors = [
                Donor(source, category_numbers=cropper.category_numbers)
                for source, cropper in zip(labelled, croppers, strict=False)  # named images come last
            ]
            chosen.append(CopyPaste(self.settings.copy_paste, donors))
        if self.settings.photometric is not None:
            chosen.append(Photometric(self.settings.photometric))
        return chosen

    def watcher(self, network: SegmentationNetwork, *, folder: Path) -> Callable[[int], None]:
        """What is to be done after every step: look at the model, if that was asked for."""
        if self.settings.watch is None:
            return _nothing
        data = self.settings.watch.data
        dataset = open_data(data, base=self.base)
        stage = stage_of(self.settings)
        return Watch(
            network,
            self.model.config,
            dataset,
            settings=self.settings.watch,
            vocabulary=self.vocabulary,
            folder=folder,
            afterwards=lambda: stage.prepare(network),
        )

    def fingerprint(self) -> dict[str, Any]:
        """What a resumed run must share, as plain values."""
        settings = self.settings.model_dump(mode="json", exclude=NEUTRAL)
        return settings | {
            "start": self.config.start.model_dump(mode="json", exclude={"nano_towers": {"features"}}),
            "seed": self.config.seed,
            "precision": self.config.precision,
            "vocabulary": self.vocabulary.to_dict(),
        }

    def check_finished(self, folder: Path) -> None:
        """Make sure that the stage in `folder` is this one.

        Raises:
            TrainingError: it was made with other settings; says which.
        """
        path = folder / SETTINGS_FILE
        if path.is_file():
            check_settings(path, json.loads(path.read_text(encoding="utf-8")), self.fingerprint())

    def write(self, path: Path) -> None:
        """Save the network as a checkpoint, with the training vocabulary and where it comes from."""
        provenance = dict(self.model.provenance)
        provenance[f"stage_{self.settings.name}"] = json.dumps(
            {
                "ovrcoat": __version__,
                "seed": self.config.seed,
                "steps": self.settings.schedule.steps,
                "data": [Path(path).name for path in self.settings.data_paths],
            }
        )
        native.save(
            path,
            self.model.network.cpu(),
            config=self.model.config,
            training_vocabulary=self.vocabulary,
            provenance=provenance,
        )
        settings = json.dumps(self.fingerprint(), indent=1)
        write_atomically(path.with_name(SETTINGS_FILE), lambda file: file.write(settings.encode()))


def embed_vocabulary(
    network: SegmentationNetwork, vocabulary: Vocabulary, templates: tuple[str, ...]
) -> CategoryEmbeddings:
    """The training words in text space, once: no stage trains the text tower."""
    groups = [category.names for category in vocabulary.categories]
    names = list(dict.fromkeys(chain.from_iterable(groups)))
    with torch.no_grad():
        rows = dict(zip(names, network.eval().embed_names(names, templates), strict=True))
    return embed_categories(groups, rows)


def _nothing(_: object) -> None:
    """Done after a step, or with news, when nothing was asked for."""
