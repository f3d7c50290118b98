"""The options of `ovrcoat segment`, in three groups. The strings below the fields are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationPrompt:
    """What to look for, and how sure to be."""

    vocabulary: Annotated[str, Parameter(alias="-v")] = "coco"
    """The words: "cat, kitty; sofa; wall#stuff", a preset (see `ovrcoat vocabularies`), or a file."""

    task: Literal["panoptic", "semantic", "instance"] = "panoptic"
    """Every pixel one segment; every pixel a category; or things that may overlap."""

    background: str = "auto"
    """Words that may win pixels but are not shown: auto (for short lists), none, on; or words, a file."""

    trust: float | Literal["adaptive"] | None = None
    """COAT's γ, 0 to 1: how far CLIP may overrule "this is nothing"; or adaptive, by each mask's stability.
    [default: the model's own, 0.5 for published ones; semantic: 0]"""

    threshold: float | None = None
    """Drop masks with a smaller score, 0 to 1. [default: the model's own]"""

    overlap: float | None = None
    """Drop segments that keep less than this share of their mask. [default: the model's own]"""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What computes."""

    model: str = "nano"
    """A name of `ovrcoat models`, or the path of a .safetensors file."""

    device: str | None = None
    """cpu, cuda, cuda:1 or mps. [default: the best there is]"""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What masks are computed in; auto: bfloat16 where the machine has it: quicker, a little less exact."""

    batch_size: int = 1
    """Images of one size that go through the network together; never changes a result."""

    compile: Annotated[bool, Parameter(negative="")] = False
    """Compile the network first (torch.compile): takes minutes; meant for many images on a GPU."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is written and said."""

    output: Path = Path("ovrcoat-output")
    """Folder for NAME.png, NAME.overlay.jpg and the run's panoptic.json."""

    overwrite: Annotated[bool, Parameter(negative="")] = False
    """Also replace files there that ovrcoat did not write."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print one JSON document to stdout instead of tables."""

    quiet: Annotated[bool, Parameter(negative="")] = False
    """No tables, notes or progress; errors are still told."""
