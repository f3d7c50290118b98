"""Settings of a training, read from YAML, strictly: an unknown key names the nearest one that exists.

A recipe is a start (weights), a vocabulary and one or more stages that run one after the other.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from ovrcoat.config import (
    PUBLISHED_TEMPLATES,
    Count,
    Fraction,
    InferenceConfig,
    MaskDecoderConfig,
    PixelDecoderConfig,
    Settings,
)
from ovrcoat.errors import ConfigError
from ovrcoat.training.augmentation_config import CopyPasteConfig, PhotometricConfig

Rate = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class DataConfig(Settings):
    """A data set to learn from."""

    path: str  # a name or a path, as `open_dataset` takes it
    root: str | None = None
    split: str | None = None
    weight: Annotated[float, Field(gt=0)] = 1.0  # how often it is drawn, relative to the others
    # What a pixel without label means: "void" (nothing of the vocabulary, as in COCO panoptic) or "unknown"
    # (nobody has said: it punishes no query).
    unlabelled: Literal["void", "unknown"] = "void"
    held_out: Fraction = 0.0  # share of the photos, by a hash of their file names, that is never trained on


class CropConfig(Settings):
    """Random crops. Large-scale jitter, the published one, is scales 0.1 to 2 of a photo fitted inside."""

    size: Count = 1024  # pixels, square
    scales: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.1, 2.0)
    fit: Literal["inside", "short side"] = "inside"  # what 1.0 means: the photo just fits, or just fills
    flip: bool = True
    colour_jitter: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "CropConfig":
        if self.scales[0] > self.scales[1]:
            raise ValueError(f"scales are {self.scales}, expected the smaller one first")
        return self


class ImageNamesConfig(Settings):
    """Photos with one name for the whole picture: they teach the encoder their names, and no mask."""

    path: str  # a folder or zip: images/ and labels.json (training/named_photos.py)
    weight: Annotated[float, Field(gt=0)] = 1.0  # how often it is drawn, relative to the data sets
    held_out: Fraction = 0.0  # as for data
    loss: Weight = 0.1  # weight of the term


class OvrConfig(Settings):
    """The OVR loss and what keeps CLIP from forgetting; None in a stage: off."""

    weight: Weight = 0.1  # the paper's α_ovr
    form: Literal["logits", "probabilities"] = "logits"  # training/ovr.py says what the released code does
    encoder_rate: Rate = 0.1  # learning rate of the encoder over that of the rest (released configuration)
    train_temperature: bool = True  # CLIP's logit scale (the released code leaves it trainable)
    # pulls of the dense map towards the untouched encoder's (training/forgetting.py)
    distillation: Weight = 0.0
    compensation: Weight = 0.0  # MAFT+'s, which has 0.1
    image_names: ImageNamesConfig | None = None


class LossConfig(Settings):
    """Weights and points of the segmentation loss (defaults: OVRCOAT's released files)."""

    category: Weight = 2.0
    mask: Weight = 6.0  # 5 in FC-CLIP
    dice: Weight = 5.0
    void: Weight = 0.1
    points: Count = 12_544


class ScheduleConfig(Settings):
    """How long and how fast."""

    steps: Annotated[int, Field(ge=1, le=100_000_000)]
    batch_size: Count = 16  # photos per step, over all processes
    photos_at_once: Count | None = None  # per process; the rest of its share is accumulated
    learning_rate: Rate = 1e-4
    reference_batch_size: Count | None = (
        None  # if given, the rate scales by batch_size over this (linear rule)
    )
    weight_decay: Weight = 0.05
    clip_norm: Annotated[float, Field(gt=0)] = 0.01  # of the gradient of all parameters (released files)
    warm_up: Annotated[int, Field(ge=0)] = 10  # steps
    decay: Literal["steps", "cosine"] = "steps"
    # "steps": where the rate falls to a tenth, as shares of the run (FC-CLIP: 327,778 and 355,092 of 368,750)
    milestones: tuple[Fraction, ...] = (0.888889, 0.962962)
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of a running mean of the weights

    @property
    def peak_rate(self) -> float:
        """The learning rate after warm-up."""
        if self.reference_batch_size is None:
            return self.learning_rate
        return self.learning_rate * self.batch_size / self.reference_batch_size


class WatchConfig(Settings):
    """Looking at the model while it trains; it never chooses a checkpoint."""

    data: DataConfig
    every: Count  # steps
    limit: Count | None = None  # photos


class StageConfig(Settings):
    """One stage: what it learns from, and how."""

    name: str
    data: Annotated[tuple[DataConfig, ...], Field(min_length=1)]
    schedule: ScheduleConfig
    crop: CropConfig = CropConfig()
    copy_paste: CopyPasteConfig | None = None
    photometric: PhotometricConfig | None = None
    loss: LossConfig = LossConfig()
    ovr: OvrConfig | None = None  # None: stage 1, the encoder is frozen; else stage 2
    watch: WatchConfig | None = None

    @property
    def data_paths(self) -> tuple[str, ...]:
        """All that it learns from."""
        named = None if self.ovr is None else self.ovr.image_names
        return (*(data.path for data in self.data), *(() if named is None else (named.path,)))


class NanoTowersConfig(Settings):
    """nano's pretrained towers from their packages (extra `nano`), joined by a taught linear map."""

    names: str  # folder with one named photo per ImageNet class: images/ and labels.json
    data: tuple[DataConfig, ...] = ()  # what their true masks show teaches the map, too; () teaches no word
    features: str | None = None  # folder for the pooled features, to share them among runs; None: the run's


class StartConfig(Settings):
    """The weights to start from: one of `model`, `clip` and `nano_towers`. The rest is for new decoders."""

    model: str | None = None  # a model's name or file; it keeps its architecture
    clip: str | None = None  # a CLIP encoder by OpenCLIP's name, such as convnext_large_d_320; new decoders
    clip_file: str | None = None  # its weights, if they are not to be downloaded
    nano_towers: NanoTowersConfig | None = None
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig()
    mask_decoder: MaskDecoderConfig = MaskDecoderConfig()
    inference: InferenceConfig = InferenceConfig()
    templates: tuple[str, ...] = PUBLISHED_TEMPLATES

    @model_validator(mode="after")
    def _one(self) -> "StartConfig":
        given = [name for name in ("model", "clip", "nano_towers") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"start gives {given or 'nothing'}, expected one of model, clip and nano_towers")
        return self


class TrainConfig(Settings):
    """A whole training."""

    start: StartConfig
    vocabulary: (
        str  # the words that training knows: anything that `Vocabulary.read` takes; files: beside this
    )
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]
    output: str = "runs/training"  # folder
    seed: int = 0
    precision: Literal["bfloat16", "float32"] = "bfloat16"  # of the network; losses are in float32
    checkpoint_activations: bool = False  # compute the forward pass twice, for less memory
    save_every: Count = 500  # steps
    workers: Annotated[int, Field(ge=0, le=64)] = 2  # processes that prepare crops; 0: none
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> "TrainConfig":
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages are called {names}, expected different names: each has a folder")
        return self


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file; `overrides` are "key=value", such as "stages.0.schedule.steps=100".

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown, a value does not fit.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error}; expected a YAML file as in configs/") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, expected keys such as start and stages")
    for override in overrides:
        _apply(data, override)
    try:
        return TrainConfig.model_validate(data)
    except ValidationError as error:
        lines = "\n".join(f"- {_explain(problem)}" for problem in error.errors())
        raise ConfigError(f"{path} cannot be used:\n{lines}") from error


def _apply(data: Any, override: str) -> None:
    """Put one "key=value" into nested mappings and lists."""
    place, separator, value = override.partition("=")
    if not separator or not place:
        raise ConfigError(f"--set {override!r}: expected key=value, such as stages.0.schedule.steps=100")
    *parents, last = place.split(".")
    try:
        for key in parents:
            data = data[int(key)] if isinstance(data, list) else data.setdefault(key, {})
        data[int(last) if isinstance(data, list) else last] = yaml.safe_load(value)
    except (TypeError, ValueError, IndexError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"--set {override!r}: there is no place {place!r} in this configuration") from error


def _explain(problem: Mapping[str, Any]) -> str:
    """One line of what pydantic found; an unknown key with the nearest known one."""
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] != "extra_forbidden":
        return f"{place}: {problem['msg']}"
    known = _fields_at(problem["loc"][:-1])
    close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return f"{place}: unknown key; {hint}"


def _fields_at(place: Sequence[str | int]) -> list[str]:
    """Names of the settings at a place inside `TrainConfig`."""
    model: type[BaseModel] = TrainConfig
    for key in place:
        if isinstance(key, int):
            continue
        annotation = model.model_fields[key].annotation
        model = next(part for part in _parts(annotation) if issubclass(part, BaseModel))
    return list(model.model_fields)


def _parts(annotation: Any) -> list[type]:
    """All classes in an annotation such as tuple[X, ...] | None."""
    arguments = getattr(annotation, "__args__", ())
    inside = [part for argument in arguments for part in _parts(argument)]
    return inside + ([annotation] if isinstance(annotation, type) and not arguments else [])
