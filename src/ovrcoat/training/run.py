"""Training runs: all stages of a configuration, one after the other."""

import json
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ovrcoat._version import __version__
from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.training_record import add_stage
from ovrcoat.errors import ConfigError, DatasetError, TrainingError
from ovrcoat.formats.json_files import read_json_object
from ovrcoat.issues import Issue
from ovrcoat.model.network import SegmentationNetwork
from ovrcoat.model.text_classifier import embed_categories
from ovrcoat.structures import CategoryEmbeddings
from ovrcoat.system.atomic_write import cannot_write, make_folder, remove_leftovers, write_atomically
from ovrcoat.system.devices import choose_dtype
from ovrcoat.system.folder_lock import FolderLock
from ovrcoat.training.accelerator import make_accelerator, precision_issues
from ovrcoat.training.activations import recompute_activations
from ovrcoat.training.config import StageConfig, TrainConfig
from ovrcoat.training.config_file import read_config
from ovrcoat.training.initialization import InitialModel, load_initial_model, read_model
from ovrcoat.training.objective import Objective
from ovrcoat.training.sharding import whole_network
from ovrcoat.training.sources import expand_variables, open_data, resolve_path
from ovrcoat.training.stage_data import DataOpener, StageData
from ovrcoat.training.stages import stage_of
from ovrcoat.training.state import DATASETS, check_settings
from ovrcoat.training.step_log import keep_lines
from ovrcoat.training.trainer import RunOptions, StageTrainer
from ovrcoat.training.validation import VALIDATION_FILE, Validation
from ovrcoat.vocabulary import Vocabulary
from ovrcoat.vocabulary.catalog import is_preset

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
        held_out: images that are excluded from training.
        categories: classes of the training vocabulary.
        data_categories: categories that occur in the training images.
        named_categories: those of them that have a class name, and so a text embedding, in the training
            vocabulary.
        unnamed: number of segments of each other category, by name.
        precision: of the network, "bfloat16" or "float32".
        trained: trained parameters.
        parameters: all parameters.
        issues: warnings and notes about the data and the settings.
    """

    name: str
    steps: int
    steps_done: int
    finished: bool = False
    images: int = 0
    held_out: int = 0
    categories: int = 0
    data_categories: int = 0
    named_categories: int = 0
    unnamed: dict[str, int] = field(default_factory=dict)
    precision: str = ""
    trained: int = 0
    parameters: int = 0
    issues: tuple[Issue, ...] = ()


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
        progress: show the progress on stderr: a bar on a terminal, otherwise a line every half a minute.
        on_status: called on the main process when a stage starts or was completed by an earlier run. Without
            it, its issues are Python warnings.

    Returns:
        The checkpoint of the last stage: `config.output`/NAME/model.safetensors.

    Raises:
        ConfigError: a setting is wrong, or something that the configuration names does not exist.
        CheckpointError: the initial weights are damaged or do not fit.
        DatasetError: a dataset is missing or damaged, or its labels cannot train anything.
        TrainingError: a loss is not finite, or the output folder belongs to a run with other settings or
            other data.
        OutputError: the output folder cannot be written, or another process uses it.
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
    check_variables(config)
    output = Path(config.output)
    accelerator = make_accelerator(config)
    with ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(FolderLock(make_folder(output)))
            for folder in (output, *(output / stage.name for stage in config.stages)):
                remove_leftovers(folder)
        torch.manual_seed(config.seed)
        names = config.vocabulary
        vocabulary = Vocabulary.read(names if is_preset(names) else resolve_path(names, base))
        data = _open_data(
            config, DataOpener(base, vocabulary, is_main=accelerator.is_main_process), output=output
        )
        model = load_initial_model(config.start, base=base, seed=config.seed)
        report = (on_status or _warn) if accelerator.is_main_process else None
        for settings in config.stages:
            folder = output / settings.name
            run = StageRun(
                model, settings, config, vocabulary=vocabulary, base=base, data=data[settings.name]
            )
            if _is_finished(folder):
                run.check_finished(folder)
                if report is not None:
                    steps = settings.schedule.steps
                    report(StageStatus(settings.name, steps, steps_done=steps, finished=True))
            else:
                if settings.restore_encoder:  # read again, as most runs need no copy of it in memory
                    initial = load_initial_model(config.start, base=base, seed=config.seed)
                    model.network.encoder.load_state_dict(initial.network.encoder.state_dict())
                if config.checkpoint_activations:
                    recompute_activations(model.network)
                run.train(accelerator, folder=folder, progress=progress, on_status=report)
                if accelerator.is_main_process:
                    run.write(folder / MODEL_FILE)
                accelerator.wait_for_everyone()
            model = read_model(folder / MODEL_FILE)
        try:
            accelerator.end_training()
        except OSError as error:  # of a tracker that writes its last lines
            raise cannot_write(output, error) from error
    return output / config.stages[-1].name / MODEL_FILE


def _open_data(config: TrainConfig, opener: DataOpener, *, output: Path) -> dict[str, StageData | None]:
    """Open the data of all stages, so that a later stage cannot fail on it after hours.

    Returns:
        Data by the name of the stage; None if it is not available, but the stage is completed.
    """
    data: dict[str, StageData | None] = {}
    for stage in config.stages:
        if not _is_finished(output / stage.name):
            data[stage.name] = opener.open(stage, check=True)
            continue
        try:
            data[stage.name] = opener.open(stage, check=False)
        except DatasetError:
            data[stage.name] = None
    return data


def _is_finished(folder: Path) -> bool:
    return (folder / MODEL_FILE).is_file()


def _warn(status: StageStatus) -> None:
    for issue in status.issues:
        if issue.severity != "note":
            warnings.warn(f"{status.name}: {issue}", stacklevel=2)


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


class StageRun:
    """One stage of a run.

    Args:
        model: the model to train, in place.
        settings: of the stage.
        config: of the run.
        vocabulary: the training classes.
        base: folder that relative paths refer to.
        data: its datasets; None if it is completed and they are not available.
    """

    def __init__(
        self,
        model: InitialModel,
        settings: StageConfig,
        config: TrainConfig,
        *,
        vocabulary: Vocabulary,
        base: Path,
        data: StageData | None,
    ) -> None:
        self.model, self.settings, self.config = model, settings, config
        self.vocabulary, self.base, self.data = vocabulary, base, data

    def train(self, accelerator: Any, *, folder: Path, progress: bool, on_status: OnStatus | None) -> None:
        """Train to the end, from the last saved state if there is one."""
        assert self.data is not None
        make_folder(folder)
        network = self.model.network.to(accelerator.device).to(memory_format=torch.channels_last)
        objective = Objective(
            network,
            self.settings,
            categories=embed_vocabulary(network, self.vocabulary, self.model.config.templates),
            bfloat16=self.precision == "bfloat16",
        )
        trainer = StageTrainer(
            objective,
            stage_of(self.settings),
            self.data.samples(self.settings, seed=self.config.seed),
            accelerator=accelerator,
            seed=self.config.seed,
            options=RunOptions(
                folder=folder,
                save_every=self.config.save_every,
                workers=self.config.workers,
                fingerprint=self.fingerprint(),
                accept_changed_data=self.config.accept_changed_data,
                progress=progress,
                on_step=self.validation(network, folder) if accelerator.is_main_process else None,
            ),
            fsdp=self.config.fsdp,
        )
        if accelerator.is_main_process:  # the steps after the saved state are repeated
            keep_lines(folder / VALIDATION_FILE, key="steps", below=trainer.first_step + 1)
        if on_status is not None:
            on_status(self._status(trainer, device=accelerator.device))
        trainer.run()
        if trainer.is_sharded:
            self.model = replace(self.model, network=whole_network(network, self.model.config))

    @property
    def precision(self) -> str:
        """The precision of the network, with "auto" replaced by that of its device."""
        dtype = choose_dtype(self.config.precision, self.model.network.encoder.device)
        return str(dtype).removeprefix("torch.")

    def _status(self, trainer: StageTrainer, *, device: torch.device) -> StageStatus:
        assert self.data is not None
        assert self.data.summary is not None
        summary = self.data.summary
        return StageStatus(
            self.settings.name,
            self.settings.schedule.steps,
            steps_done=trainer.first_step,
            images=summary.images,
            held_out=summary.held_out,
            categories=len(self.vocabulary),
            data_categories=summary.categories,
            named_categories=summary.named_categories,
            unnamed=summary.unnamed,
            precision=self.precision,
            trained=sum(parameter.numel() for parameter in trainer.trained.values()),
            parameters=sum(parameter.numel() for parameter in trainer.network.parameters()),
            issues=(*summary.issues, *precision_issues(self.precision, device)),
        )

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
            "precision": self.precision,
            "vocabulary": self.vocabulary.to_dict(),
            **({} if self.data is None else {DATASETS: self.data.content()}),
        }

    def check_finished(self, folder: Path) -> None:
        """Check that the completed stage in `folder` was made with the settings of this run.

        Raises:
            TrainingError: it was not; the message lists the differences.
        """
        path = folder / SETTINGS_FILE
        if path.is_file():
            check_settings(
                path,
                read_json_object(path, error_class=TrainingError),
                self.fingerprint(),
                accept_changed_data=self.config.accept_changed_data,
            )

    def write(self, path: Path) -> None:
        """Save the checkpoint with training vocabulary and provenance, and the settings next to it."""
        assert self.data is not None
        settings = self.fingerprint()
        facts = {
            "ovrcoat": __version__,
            "seed": self.config.seed,
            "steps": self.settings.schedule.steps,
            "precision": settings["precision"],
        }
        # before the checkpoint, whose presence means that the stage is complete
        text = json.dumps(settings, indent=1)
        write_atomically(path.with_name(SETTINGS_FILE), lambda file: file.write(text.encode()), durable=True)
        provenance = add_stage(self.model.provenance, self.settings.name, facts, data=self.data.record())
        native.save(
            path,
            self.model.network.cpu(),
            config=self.model.config,
            training_vocabulary=self.vocabulary,
            provenance=provenance,
        )


def embed_vocabulary(
    network: SegmentationNetwork, vocabulary: Vocabulary, templates: tuple[str, ...]
) -> CategoryEmbeddings:
    """Compute the text embeddings of the training classes. No stage trains the text tower."""
    groups = [category.names for category in vocabulary.categories]
    names = list(dict.fromkeys(chain.from_iterable(groups)))
    with torch.no_grad():
        embeddings = dict(zip(names, network.eval().embed_names(names, templates), strict=True))
    return embed_categories(groups, embeddings)
