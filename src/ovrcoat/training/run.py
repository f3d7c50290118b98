"""Training runs: all stages of a configuration, one after the other."""

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
from ovrcoat.checkpoints import native
from ovrcoat.errors import ConfigError, MissingExtraError
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.model.text_classifier import embed_categories
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.system.atomic_write import write_atomically
from ovrcoat.system.optional_imports import import_optional
from ovrcoat.training.activations import recompute_activations
from ovrcoat.training.config import StageConfig, TrainConfig
from ovrcoat.training.config_file import read_config
from ovrcoat.training.crops import Cropper
from ovrcoat.training.initialization import InitialModel, load_initial_model, read_model
from ovrcoat.training.objective import Objective
from ovrcoat.training.samples import Samples, map_categories
from ovrcoat.training.sources import expand_variables, open_data, open_source, resolve_path
from ovrcoat.training.stages import stage_of
from ovrcoat.training.state import check_settings
from ovrcoat.training.trainer import RunOptions, StageTrainer
from ovrcoat.training.validation import Validation
from ovrcoat.vocabulary import Vocabulary

MODEL_FILE = "model.safetensors"
SETTINGS_FILE = "settings.json"
WITHOUT_EFFECT = {"validation"}  # settings of a stage that do not change its result


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Reported when a stage starts, or was completed by an earlier run.

    Attributes:
        name: of the stage.
        steps: its length.
        steps_done: steps completed by earlier runs.
        finished: whether an earlier run completed the stage; the counts below are then 0.
        images: training images.
        categories: classes of the training vocabulary.
        trained: trained parameters.
        parameters: all parameters.
    """

    name: str
    steps: int
    steps_done: int
    finished: bool = False
    images: int = 0
    categories: int = 0
    trained: int = 0
    parameters: int = 0


OnStatus = Callable[[StageStatus], None]


def train(
    config: TrainConfig | str | os.PathLike[str],
    *,
    overrides: Sequence[str] = (),
    base: str | os.PathLike[str] | None = None,
    progress: bool = False,
    on_status: OnStatus | None = None,
) -> Path:
    """Train a model, and return the path of its checkpoint for `Segmenter.load`.

    Each stage has a folder below `config.output` with log.jsonl, state.pt (the state for resuming) and, at
    the end, model.safetensors. To continue an interrupted run exactly, call the function again. Completed
    stages are not repeated.

        ovrcoat.train("configs/tiny.yaml", overrides=["stages.0.schedule.steps=100"])

    Args:
        config: a YAML file (see docs/training.md), or its contents.
        overrides: changes of single settings of a YAML file, "key=value".
        base: folder that relative paths in the configuration refer to. Default: the folder of the YAML file,
            or the working directory for a `TrainConfig`. The output folder is always relative to the working
            directory.
        progress: show a progress bar on stderr if it is a terminal.
        on_status: called on the main process when a stage starts or was completed by an earlier run.

    Returns:
        The checkpoint of the last stage: `config.output`/NAME/model.safetensors.

    Raises:
        ConfigError: a setting is wrong, or something that the configuration names does not exist.
        CheckpointError: the initial weights are damaged or do not fit.
        DatasetError: a dataset is missing or damaged.
        TrainingError: a loss is not finite, or the output folder belongs to a run with other settings.
        MissingExtraError: accelerate or a tracker is not installed.
    """
    if isinstance(config, TrainConfig):
        if overrides:
            raise ConfigError(
                "overrides apply to a YAML file; change the TrainConfig with model_copy instead"
            )
        settings, base = config, Path(base or ".")
    else:
        file = Path(config)
        settings, base = read_config(file, overrides), Path(base or file.parent)
    return _train(settings, base, progress=progress, on_status=on_status)


def _train(config: TrainConfig, base: Path, *, progress: bool, on_status: OnStatus | None) -> Path:
    accelerator = make_accelerator(config)
    check_variables(config)
    torch.manual_seed(config.seed)
    vocabulary = Vocabulary.read(resolve_path(config.vocabulary, base))
    output = Path(config.output)
    model = load_initial_model(config.start, base=base, seed=config.seed)
    report = on_status if accelerator.is_main_process else None
    for settings in config.stages:
        folder = output / settings.name
        run = StageRun(model, settings, config, vocabulary=vocabulary, base=base)
        if (folder / MODEL_FILE).is_file():
            run.check_finished(folder)
            if report is not None:
                steps = settings.schedule.steps
                report(StageStatus(settings.name, steps, steps_done=steps, finished=True))
        else:
            if config.checkpoint_activations:
                recompute_activations(model.network)
            run.train(accelerator, folder=folder, progress=progress, on_status=report)
            if accelerator.is_main_process:
                run.write(folder / MODEL_FILE)
            accelerator.wait_for_everyone()
        model = read_model(folder / MODEL_FILE)
    accelerator.end_training()
    return output / config.stages[-1].name / MODEL_FILE


def check_variables(config: TrainConfig) -> None:
    """Check the environment variables of all dataset paths, so that a later stage cannot fail on them.

    Raises:
        ConfigError: one is not set.
    """
    for stage in config.stages:
        validation = () if stage.validation is None else (stage.validation.data,)
        for data in (*stage.data, *validation):
            expand_variables(data.path)
            expand_variables(data.root or "")


def make_accelerator(config: TrainConfig) -> Any:
    """Create the `accelerate.Accelerator`, which is used for processes and devices, not for precision.

    Raises:
        MissingExtraError: accelerate or a tracker is not installed.
    """
    accelerate = import_optional("accelerate", extra="train")
    for tracker in config.trackers:  # accelerate would silently skip it
        if not importlib.util.find_spec(tracker):
            raise MissingExtraError(f"the tracker {tracker!r} is not installed. Run: pip install {tracker}")
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    accelerator = accelerate.Accelerator(
        # without this flag, accelerate does not connect processes that have no GPU: each trains its own model
        cpu=launched and not torch.cuda.is_available(),
        log_with=list(config.trackers) or None,
        project_dir=config.output,
        step_scheduler_with_optimizer=False,
    )
    if config.trackers:
        accelerator.init_trackers("ovrcoat", config={"seed": config.seed, "start": str(config.start)})
    return accelerator


class StageRun:
    """One stage of a run.

    Args:
        model: the model to train, in place.
        settings: of the stage.
        config: of the run.
        vocabulary: the training classes.
        base: folder that relative paths refer to.
    """

    def __init__(
        self,
        model: InitialModel,
        settings: StageConfig,
        config: TrainConfig,
        *,
        vocabulary: Vocabulary,
        base: Path,
    ) -> None:
        self.model, self.settings, self.config = model, settings, config
        self.vocabulary, self.base = vocabulary, base

    def train(self, accelerator: Any, *, folder: Path, progress: bool, on_status: OnStatus | None) -> None:
        """Train to the end, from the last saved state if there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        network = self.model.network.to(accelerator.device).to(memory_format=torch.channels_last)
        objective = Objective(
            network,
            self.settings,
            categories=embed_vocabulary(network, self.vocabulary, self.model.config.templates),
            bfloat16=self.config.precision == "bfloat16",
        )
        samples = self.samples()
        trainer = StageTrainer(
            objective,
            stage_of(self.settings),
            samples,
            accelerator=accelerator,
            seed=self.config.seed,
            options=RunOptions(
                folder=folder,
                save_every=self.config.save_every,
                workers=self.config.workers,
                fingerprint=self.fingerprint(),
                progress=progress,
                on_step=self.validation(network, folder) if accelerator.is_main_process else None,
            ),
        )
        if on_status is not None:
            status = StageStatus(
                self.settings.name,
                self.settings.schedule.steps,
                steps_done=trainer.first_step,
                images=sum(len(source.records) for source in samples.sources),
                categories=len(self.vocabulary),
                trained=sum(parameter.numel() for parameter in trainer.trained.values()),
                parameters=sum(parameter.numel() for parameter in network.parameters()),
            )
            on_status(status)
        trainer.run()

    def samples(self) -> Samples:
        """Open the datasets of the stage.

        Raises:
            DatasetError: a dataset is missing, or all its images are held out.
        """
        sources = [open_source(data, base=self.base) for data in self.settings.data]
        croppers = [
            Cropper(
                self.settings.crop,
                category_map=map_categories(source.dataset.categories, self.vocabulary.categories),
            )
            for source in sources
        ]
        return Samples(sources, croppers, seed=self.config.seed)

    def validation(self, network: SegmentationNetwork, folder: Path) -> Validation | None:
        """Open the validation data, if the stage has any."""
        if self.settings.validation is None:
            return None
        stage = stage_of(self.settings)
        return Validation(
            network,
            self.model.config,
            open_data(self.settings.validation.data, base=self.base),
            settings=self.settings.validation,
            vocabulary=self.vocabulary,
            folder=folder,
            restore_training_mode=lambda: stage.prepare(network),
        )

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share, as plain values."""
        settings = self.settings.model_dump(mode="json", exclude=WITHOUT_EFFECT)
        return settings | {
            "start": self.config.start.model_dump(mode="json"),
            "seed": self.config.seed,
            "precision": self.config.precision,
            "vocabulary": self.vocabulary.to_dict(),
        }

    def check_finished(self, folder: Path) -> None:
        """Check that the completed stage in `folder` was made with the settings of this run.

        Raises:
            TrainingError: it was not; the message lists the differences.
        """
        path = folder / SETTINGS_FILE
        if path.is_file():
            check_settings(path, json.loads(path.read_text(encoding="utf-8")), self.fingerprint())

    def write(self, path: Path) -> None:
        """Save the checkpoint with training vocabulary and provenance, and the settings next to it."""
        provenance = dict(self.model.provenance)
        provenance[f"stage_{self.settings.name}"] = json.dumps(
            {
                "ovrcoat": __version__,
                "seed": self.config.seed,
                "steps": self.settings.schedule.steps,
                "data": [Path(data.path).name for data in self.settings.data],
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
    """Compute the text embeddings of the training classes. No stage trains the text tower."""
    groups = [category.names for category in vocabulary.categories]
    names = list(dict.fromkeys(chain.from_iterable(groups)))
    with torch.no_grad():
        embeddings = dict(zip(names, network.eval().embed_names(names, templates), strict=True))
    return embed_categories(groups, embeddings)
