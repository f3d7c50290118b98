"""The options of `ovrcoat evaluate`, in four groups. The strings below the fields are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The labelled photos."""

    data: str
    """coco, ade20k, cityscapes, mapillary, or the path of a folder or zip file of your own."""

    root: Path | None = None
    """Folder of the data sets. [default: $OVRCOAT_DATASETS, else $DETECTRON2_DATASETS, else ./datasets]"""

    split: str | None = None
    """Part of a published data set: val or train. [default: val]"""

    held_out: float | None = None
    """Only images that a training with this share held out never saw, such as 0.1 for nano."""

    limit: int | None = None
    """Only the first so many images: for trying, not for numbers to compare."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What each image is asked, and how."""

    trust: str = "0,0.5"
    """COAT's γ, 0 to 1 or adaptive, several with commas: each image is encoded once for all of them."""

    task: str = "panoptic"
    """panoptic (PQ), semantic (mIoU), instance (mask AP); several with commas."""

    vocabulary: Annotated[str | None, Parameter(alias="-v")] = None
    """Other names for the data set's categories: words or a file. [default: the published names]"""

    background: str = "none"
    """Background classes: none, as the published protocol has it; on, auto; or words, a file."""

    oracle: Annotated[bool, Parameter(negative="")] = False
    """Ask each image only for the categories that its truth holds."""

    seen: str | None = None
    """Words that count as seen in the report: coco, a file. [default: the model's training vocabulary]"""

    areas: Literal["json", "png"] = "json"
    """Areas of true segments: from the JSON, as published numbers have them, or counted from the PNG."""

    protocol: Literal["auto", "published", "model"] = "auto"
    """Test size: published for the data set, or the model's own; auto: published unless the model is nano."""

    short_side: int | None = None
    """Test size by hand: pixels of the short side."""

    max_long_side: int | None = None
    """Test size by hand: most pixels of the long side."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What computes."""

    model: str = "nano"
    """A name of `ovrcoat models`, or the path of a .safetensors file."""

    device: str | None = None
    """cpu, cuda, cuda:1 or mps. [default: the best there is]"""

    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """What masks are computed in: bfloat16, auto, or float32: figures then do not depend on the machine."""

    compile: Annotated[bool, Parameter(negative="")] = False
    """Compile the network first (torch.compile): takes minutes; meant for many images on a GPU."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is written and said."""

    output: Path | None = None
    """Folder for report and journal; the same command goes on there. [default: ovrcoat-evaluation/NAME]"""

    overwrite: Annotated[bool, Parameter(negative="")] = False
    """Start anew instead of going on with an earlier run."""

    save_predictions: Path | None = None
    """Folder for the panoptic predictions in COCO's form, one subfolder per γ."""

    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None
    """Another place for the report as JSON; - is stdout."""

    quiet: Annotated[bool, Parameter(negative="")] = False
    """No tables, notes or progress; errors are still told."""
