"""The options of `ovrcoat segment`, in four groups. The strings below the fields are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ovrcoat.checkpoints.encoder_file import encoder_name, is_encoder_address


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions:
    """What to segment."""

    vocabulary: str = "coco"
    """Class names: "cat, kitty; sofa; wall#stuff", a preset (see `ovrcoat vocabularies`), or a file."""

    task: Literal["panoptic", "semantic", "instance"] = "panoptic"
    """panoptic: one segment per pixel; semantic: one category per pixel; instance: things, may overlap."""

    background: str = "auto"
    """Background classes, which win pixels but are not shown: auto (for short vocabularies), none, on; or
    class names, a preset, a file."""

    trust: float | Literal["adaptive"] | None = None
    """COAT's γ, 0 to 1: how much CLIP's confidence raises the objectness of a mask; or adaptive, by each
    mask's stability. [default: the model's own, 0.5 for FC-CLIP and OVRCOAT; semantic: 0]"""

    object_mask_threshold: float | None = None
    """Minimum score of a mask, 0 to 1. [default: the model's own]"""

    overlap_threshold: float | None = None
    """Minimum ratio of a mask's argmax area to its original area, as in Mask2Former.
    [default: the model's own]"""

    score_threshold: float | None = None
    """Minimum score of an instance, 0 to 1; also leaves out duplicates (instance only). [default: all]"""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Model and hardware."""

    model: str = "nano"
    """A name listed by `ovrcoat models`, or the path of a .safetensors file."""

    device: str | None = None
    """cpu, cuda, cuda:1 or mps. [default: the fastest available]"""

    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    """Dtype of the masks; auto: bfloat16 where the hardware supports it (faster, slightly less accurate)."""

    batch_size: int = 1
    """Maximum number of images per batch; does not change results."""

    compile: Annotated[bool, Parameter(negative="")] = False
    """Compile the network with torch.compile: takes minutes; for many images on a GPU."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Masks and names from different sources."""

    masks: str | None = None
    """Where masks come from: a model as in --model; a Mask2Former (folder of Hugging Face or .pth of
    Detectron2); or your own masks, a folder with NAME.json, .npz or .png per image, or one COCO file (not
    for serve). [default: --model]"""

    names: str | None = None
    """Model whose CLIP encoder names the masks, or an encoder with OpenCLIP's weights:
    openclip:ViT-B-16=FILE. [default: --model]"""

    classify_by: Literal["pooling", "crops", "masked-crops"] = "pooling"
    """What CLIP embeds of a mask: its features under the mask; or a crop of the image around it, with or
    without background. Crops are slow: one pass of the encoder per mask."""

    def resolve(self, model: str) -> tuple[str, str | None]:
        """Return the model that names masks, and the source of masks if it is another one."""
        names, masks = self.names or model, self.masks or model
        return names, None if masks == names else masks

    def describe(self, model: str) -> str:
        """Return the name of the model, or the names of both sources."""
        names, masks = self.resolve(model)
        if masks is None:
            return names
        short = encoder_name(names) if is_encoder_address(names) else Path(names).name
        return f"masks of {Path(masks).name}, names of {short}"


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Output."""

    output: Path = Path("ovrcoat-output")
    """Folder for NAME.png, NAME.overlay.jpg and the run's panoptic.json."""

    format: str | None = None
    """Formats, separated by commas: coco-panoptic, coco-results, coco-instances, cvat, semantic-png, yolo,
    cityscapes, labelme, label-studio, jsonl, npz; all but the first two write into a folder of their own in
    the output folder. [default: coco-panoptic; instance: coco-results]"""

    show_rejected: Annotated[bool, Parameter(negative="")] = False
    """Overlays show what COAT rescued and which masks were rejected, with the reason (panoptic only)."""

    open: Annotated[bool, Parameter(negative="")] = False
    """Show the overlay in the system's image viewer; of several images, the output folder."""

    resume: bool = True
    """Continue an interrupted run with equal settings: images that are done are not segmented again."""

    overwrite: Annotated[bool, Parameter(negative="")] = False
    """Replace files that ovrcoat did not write, too."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print one JSON document to stdout instead of tables."""

    quiet: Annotated[bool, Parameter(negative="")] = False
    """Print only errors and warnings about the vocabulary: no tables, notes or progress."""
