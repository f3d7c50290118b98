"""Settings of a training run.

A configuration names the initial weights, a vocabulary and one or more stages, which run one after the other.
`config_file.py` reads one from YAML; docs/training.md lists every setting with its default.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ovrcoat.choices import DtypeName
from ovrcoat.config import (
    PUBLISHED_TEMPLATES,
    Count,
    Fraction,
    InferenceConfig,
    MaskDecoderConfig,
    PixelDecoderConfig,
    Settings,
)
from ovrcoat.system.paths import is_plain_name
from ovrcoat.training.augmentation_config import CopyPasteConfig, PhotometricConfig

LearningRateFactor = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class DataConfig(Settings):
    """A training or validation dataset.

    `path` and `root` may contain environment variables, written `${NAME}`.
    """

    path: str  # a dataset name or a path, as `open_dataset` takes it
    root: str | None = None  # folder of the published datasets
    split: str | None = None
    weight: Annotated[float, Field(gt=0)] = 1.0  # sampling frequency, relative to the other datasets
    # Meaning of a pixel without a label. "void": it shows none of the classes, as in COCO panoptic.
    # "unknown": its content was not annotated, so it contributes no void loss.
    unlabeled: Literal["void", "unknown"] = "void"
    held_out: Fraction = 0.0  # share of the images, chosen by a hash of their file names, to exclude
    # An image or its labels are missing or damaged: stop, or draw another one.
    on_error: Literal["raise", "skip"] = "raise"


class CropConfig(Settings):
    """Random crops. The defaults are the published large-scale jitter."""

    size: Count = 1024  # pixels; crops are square
    scales: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.1, 2.0)
    # At scale 1, "inside" fits the whole image into the crop; "short side" makes the image fill the crop.
    fit: Literal["inside", "short side"] = "inside"
    flip: bool = True
    color_jitter: bool = False

    @model_validator(mode="after")
    def _check_order(self) -> "CropConfig":
        if self.scales[0] > self.scales[1]:
            raise ValueError(f"scales are {self.scales}, expected the smaller one first")
        return self


class OvrConfig(Settings):
    """The OVR loss, which trains the image encoder. A stage without these settings freezes the encoder."""

    weight: Weight = 0.1  # α_ovr in the paper
    form: Literal["logits", "probabilities"] = "logits"  # see training/ovr.py
    # learning rate of the encoder relative to the other parts (released configuration)
    encoder_lr_multiplier: LearningRateFactor = 0.1
    train_temperature: bool = True  # train CLIP's logit scale, as the released code does


class LossConfig(Settings):
    """Weights of the segmentation loss terms and the number of sampled points (released configuration)."""

    added_later = frozenset({"queries_per_target", "center", "extent"})

    category: Weight = 2.0
    mask: Weight = 6.0  # 5 in FC-CLIP
    dice: Weight = 5.0
    void: Weight = 0.1
    points: Count = 12_544
    # Queries that each segment is matched with, fewer if there are not enough for all segments. More than one
    # trains duplicates, which the inference setting `duplicate_iou` removes. Selected queries are counted
    # separately.
    queries_per_target: Count = 1
    center: Weight = 2.0  # of the heatmap of centers, for models with selected queries
    extent: Weight = 1.0  # of center and size of masks, for models with local masks


class ScheduleConfig(Settings):
    """Length of a stage, batch size and optimizer settings."""

    steps: Annotated[int, Field(ge=1, le=100_000_000)]
    batch_size: Count = 16  # images per step, over all processes
    micro_batch_size: Count | None = None  # images per forward pass and process; None: no accumulation
    learning_rate: LearningRateFactor = 1e-4
    # If set, the learning rate is multiplied by batch_size / reference_batch_size (linear scaling rule).
    reference_batch_size: Count | None = None
    weight_decay: Weight = 0.05
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.01  # over all parameters (released configuration)
    warmup_steps: Annotated[int, Field(ge=0)] = 10
    decay: Literal["steps", "cosine"] = "steps"
    # For decay "steps": fractions of the run after which the rate drops to a tenth (FC-CLIP: steps 327,778
    # and 355,092 of 368,750).
    milestones: tuple[Fraction, ...] = (0.888889, 0.962962)
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of the moving average of the weights

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up."""
        if self.reference_batch_size is None:
            return self.learning_rate
        return self.learning_rate * self.batch_size / self.reference_batch_size


class ValidationConfig(Settings):
    """Evaluation during training. It is for monitoring only and never selects a checkpoint."""

    data: DataConfig
    every: Count  # steps
    limit: Count | None = None  # images


class StageConfig(Settings):
    """One training stage.

    With `ovr: None` the image encoder is frozen (stage 1 of the paper); otherwise it is trained (stage 2).
    """

    name: str
    data: Annotated[tuple[DataConfig, ...], Field(min_length=1)]
    schedule: ScheduleConfig
    crop: CropConfig = CropConfig()
    copy_paste: CopyPasteConfig | None = None
    photometric: PhotometricConfig | None = None
    loss: LossConfig = LossConfig()
    ovr: OvrConfig | None = None
    # Start with the image and text encoder of the run's initial model instead of the previous stage's.
    restore_encoder: bool = False
    validation: ValidationConfig | None = None


class StartConfig(Settings):
    """The initial weights: either `model` or `clip`.

    `selected_queries` and `local_masks` are for `model`. The settings from `pixel_decoder` on are for new
    decoders with `clip`.
    """

    added_later = frozenset({"selected_queries", "local_masks"})

    # Name or file of a model. Its architecture is kept, apart from selected_queries and local_masks.
    model: str | None = None
    selected_queries: Annotated[int, Field(ge=0, le=2_000)] = 0  # to add to a model that has none
    local_masks: bool = False  # limit the masks of selected queries to an extent that they predict
    clip: str | None = None  # OpenCLIP name of an encoder, such as convnext_large_d_320; decoders are random
    clip_file: str | None = None  # local file with its weights, instead of a download
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig()
    mask_decoder: MaskDecoderConfig = MaskDecoderConfig()
    inference: InferenceConfig = InferenceConfig()
    templates: tuple[str, ...] = PUBLISHED_TEMPLATES

    @model_validator(mode="after")
    def _check_one_source(self) -> "StartConfig":
        given = [name for name in ("model", "clip") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"start has {' and '.join(given) or 'neither'}, expected either model or clip")
        added = [name for name in ("selected_queries", "local_masks") if getattr(self, name)]
        if self.clip is not None and added:
            raise ValueError(f"{added[0]} is for start.model; with clip, use start.mask_decoder.{added[0]}")
        return self


class TrainConfig(Settings):
    """A complete training run."""

    start: StartConfig
    vocabulary: str  # the training classes, in any form that `Vocabulary.read` takes
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]
    output: str = "runs/training"  # folder, relative to the working directory
    seed: int = 0
    # Precision of the network; losses are in float32. "auto": bfloat16 if the hardware has it, else float32.
    precision: DtypeName = "auto"
    checkpoint_activations: bool = False  # recompute activations in the backward pass to save memory
    # Divide parameters, gradients and optimizer states among all processes (FSDP2), for encoders that are too
    # large for one device. Without effect in a single process.
    fsdp: bool = False
    save_every: Count = 500  # steps
    # Resume a run although images or labels have changed since. The result is then not that of an
    # uninterrupted run.
    accept_changed_data: bool = False
    workers: Annotated[int, Field(ge=0, le=64)] = 2  # data loading processes per training process
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()

    @model_validator(mode="after")
    def _check_fsdp(self) -> "TrainConfig":
        if self.fsdp and any(stage.validation is not None for stage in self.stages):
            raise ValueError(
                "fsdp does not allow validation, which runs in one process; evaluate the checkpoints instead"
            )
        return self

    @model_validator(mode="after")
    def _check_stage_names(self) -> "TrainConfig":
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages are called {names}, expected different names: each has a folder")
        if wrong := [name for name in names if not is_plain_name(name)]:
            raise ValueError(
                f"a stage is called {wrong[0]!r}, expected a plain name: it is the stage's folder"
            )
        return self
