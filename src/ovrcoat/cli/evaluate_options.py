"""The options of `ovrcoat evaluate`, in four groups. The strings below the fields are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """The labeled images."""

    data: str
    """coco, ade20k, cityscapes, mapillary, or the path of your own folder or zip file."""

    root: Path | None = None
    """Folder of the published datasets.
    [default: $OVRCOAT_DATASETS, else $DETECTRON2_DATASETS, else ./datasets]"""

    split: str | None = None
    """Split of a published dataset: val or train. [default: val]"""

    held_out: float | None = None
    """Evaluate only images that a training run with this held-out share never used (nano: 0.1)."""

    shard: str | None = None
    """i/n: evaluate only the i-th of n shares of the images, without a report; `score --merge` makes the
    report of all shares."""

    limit: int | None = None
    """Evaluate only the first N images. The numbers are then not comparable to others."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolOptions:
    """What to predict, and how."""

    trust: str = "0,0.5"
    """COAT's γ, 0 to 1 or adaptive; separate several with commas. Each image is encoded once."""

    task: str = "panoptic"
    """panoptic (PQ), semantic (mIoU), instance (mask AP); separate several with commas."""

    vocabulary: str | None = None
    """Other names for the dataset's categories: class names or a file. [default: the published names]"""

    background: str = "none"
    """Background classes: none (as in the published protocol), on, auto, or class names, a preset, a file."""

    oracle: Annotated[bool, Parameter(negative="")] = False
    """Restrict the vocabulary of each image to the categories in its ground truth."""

    seen: str | None = None
    """Class names that count as seen in the report: coco, a file.
    [default: the training vocabulary of the model]"""

    areas: Literal["json", "png"] = "json"
    """Areas of ground-truth segments: from the JSON, as in published numbers, or counted from the PNG."""

    protocol: Literal["auto", "published", "model"] = "auto"
    """Test size: published for the dataset, or that of the model; auto: published, except for nano."""

    short_side: int | None = None
    """Custom test resolution: short side in pixels."""

    max_long_side: int | None = None
    """Custom test resolution: maximum long side in pixels."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Model and hardware."""

    model: str = "nano"
    """A name listed by `ovrcoat models`, or the path of a .safetensors file."""

    device: str | None = None
    """cpu, cuda, cuda:1 or mps. [default: the fastest available device]"""

    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Dtype of masks and features: bfloat16, auto, or float32, whose numbers do not depend on the machine."""

    compile: Annotated[bool, Parameter(negative="")] = False
    """Compile the network first (torch.compile). This takes minutes and pays off for many images on a GPU."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Files and terminal output."""

    output: Path | None = None
    """Folder of the report and the journal, from which an interrupted run resumes.
    [default: ovrcoat-evaluation/NAME]"""

    overwrite: Annotated[bool, Parameter(negative="")] = False
    """Start over instead of resuming an earlier run."""

    save_predictions: Path | None = None
    """Folder for the panoptic predictions in COCO format, with one subfolder per γ."""

    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None
    """Another path for the JSON report; - is stdout."""

    quiet: Annotated[bool, Parameter(negative="")] = False
    """Print no tables, notes or progress bar. Errors are still printed."""
