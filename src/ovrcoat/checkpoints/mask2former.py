"""Mask2Former checkpoints in their published layouts: Hugging Face's folder, Detectron2's file.

They are used without conversion. Nothing in a file is executed: safetensors files hold no code, and PyTorch
files are read with `weights_only=True`.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from ovrcoat.checkpoints.architecture import DECODER_HEADS, detect_mask2former
from ovrcoat.checkpoints.catalog import CONFIG_FILE
from ovrcoat.checkpoints.file_kinds import INDEX_ENDING
from ovrcoat.checkpoints.fitting import assign, listing
from ovrcoat.checkpoints.mask2former_names import DETECTRON2_NAMES, DROPPED, HUGGING_FACE_NAMES, Table
from ovrcoat.checkpoints.published_names import our_name
from ovrcoat.checkpoints.state_files import read_state
from ovrcoat.config import InferenceConfig, Mask2FormerConfig, SwinConfig
from ovrcoat.errors import CheckpointError, VocabularyError
from ovrcoat.formats.json_files import read_json_object
from ovrcoat.model.mask2former import Mask2Former, build_mask2former
from ovrcoat.system.paths import is_file, is_folder
from ovrcoat.vocabulary import Vocabulary

WEIGHT_FILES = ("model.safetensors", f"model.safetensors{INDEX_ENDING}", "pytorch_model.bin")
# Number of classes → preset, for files that do not name their classes.
CLASSES = {133: "coco", 150: "ade20k", 19: "cityscapes", 65: "mapillary"}
# A seen category is named by both classifiers, with FC-CLIP's weights. The closed vocabulary says nothing
# about an unseen one. The object-mask threshold is that of open vocabularies: Mask2Former's 0.8 is for the
# probabilities of its own classes. The overlap threshold is Mask2Former's.
INFERENCE = InferenceConfig(alpha=0.4, beta=1.0, object_mask_threshold=0.0, overlap_threshold=0.8)


class _Backbone(BaseModel):
    """What Hugging Face's configuration says and weights do not show. Unsupported values are errors."""

    model_type: Literal["swin", "resnet"]
    hidden_act: Literal["gelu", "relu"] = "gelu"
    layer_type: Literal["bottleneck"] = "bottleneck"
    use_absolute_embeddings: Literal[False] = False
    downsample_in_bottleneck: Literal[False] = False
    downsample_in_first_stage: Literal[False] = False


class _Description(BaseModel):
    """The same of the whole network."""

    model_config = ConfigDict(protected_namespaces=())

    model_type: Literal["mask2former"]
    backbone_config: _Backbone
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = DECODER_HEADS
    activation_function: Literal["relu"] = "relu"
    pre_norm: Literal[False] = False
    id2label: dict[int, str]


@dataclass(frozen=True, slots=True)
class LoadedMask2Former:
    """A Mask2Former in eval mode.

    Attributes:
        network: the network.
        config: its configuration, detected from the weights.
        classes: its classes, in the order of its logits.
        dropped: keys in the file that are not used → reason.
    """

    network: Mask2Former
    config: Mask2FormerConfig
    classes: Vocabulary
    dropped: dict[str, str]


def load_mask2former(path: Path) -> LoadedMask2Former:
    """Load a Mask2Former.

    Args:
        path: a folder of Hugging Face (`config.json`, and `model.safetensors` or `pytorch_model.bin`), or a
            `.pth` of Detectron2.

    Raises:
        CheckpointError: a file is missing, damaged, could execute code, or is not a supported Mask2Former.
    """
    if not is_folder(path):
        return import_mask2former(read_state(path), source=path.name, names=DETECTRON2_NAMES)
    description = _read_description(path / CONFIG_FILE)
    weights = next((path / name for name in WEIGHT_FILES if is_file(path / name)), None)
    if weights is None:
        raise CheckpointError(
            f"{path} has no {WEIGHT_FILES[0]}; download the weights in the safetensors format into it"
        )
    labels = [description.id2label.get(index) for index in range(len(description.id2label))]
    try:
        classes = Vocabulary.read([label for label in labels if label is not None])
    except VocabularyError as error:
        raise CheckpointError(f"{path / CONFIG_FILE}: the class names cannot be used: {error}") from error
    return import_mask2former(
        read_state(weights),
        source=path.name,
        names=HUGGING_FACE_NAMES,
        heads=description.num_attention_heads,
        classes=classes,
    )


def import_mask2former(
    state: Mapping[str, Tensor],
    *,
    source: str,
    names: Table,
    heads: int = DECODER_HEADS,
    classes: Vocabulary | None = None,
) -> LoadedMask2Former:
    """Build a Mask2Former from a state dict.

    Args:
        state: weights under their published names.
        source: name of the file, for messages.
        names: the table of these names.
        heads: attention heads of both decoders.
        classes: its classes, in the order of its logits. None: those of the dataset with their number.

    Raises:
        CheckpointError: weights are unknown, missing or misshapen, or the classes do not fit their number.
    """
    renamed, dropped = _renamed(state, names, source=source)
    try:
        shapes = {key: tuple(value.shape) for key, value in renamed.items()}
        config = detect_mask2former(shapes, source=source, heads=heads)
    except ValidationError as error:
        reasons = "; ".join(detail["msg"] for detail in error.errors())
        raise CheckpointError(f"{source} has weights of no supported Mask2Former: {reasons}") from error
    with torch.device("meta"):
        network = build_mask2former(config)
    renamed |= _constants(network, config)
    assign(network, renamed, source=source)
    return LoadedMask2Former(
        network=network.eval(),
        config=config,
        classes=_checked_classes(classes, config.classes, source=source),
        dropped=dropped,
    )


def _read_description(path: Path) -> _Description:
    data = read_json_object(path, expected="a Hugging Face configuration", error_class=CheckpointError)
    try:
        return _Description.model_validate(data)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise CheckpointError(
            f"{path} does not describe a Mask2Former that can be loaded ({reasons}). Supported are Hugging "
            "Face's Mask2Former models with a Swin or ResNet backbone"
        ) from error


def _renamed(
    state: Mapping[str, Tensor], names: Table, *, source: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights under our names, and the dropped keys with the reason."""
    renamed: dict[str, Tensor] = {}
    parts: defaultdict[str, dict[int, Tensor]] = defaultdict(dict)
    dropped: dict[str, str] = {}
    unknown = []
    for key, value in state.items():
        if reason := our_name(key, DROPPED):
            dropped[key] = reason
        elif (ours := our_name(key, names)) is None:
            unknown.append(key)
        elif "#" in ours:
            whole, _, number = ours.partition("#")
            parts[whole][int(number)] = value
        else:
            renamed[ours] = value
    if unknown:
        raise CheckpointError(
            f"{source}: {len(unknown)} unknown weights: {listing(unknown)}. Masks can come from "
            "checkpoints of ovrcoat, and from Mask2Former in the layout of Hugging Face or Detectron2"
        )
    for whole, numbered in parts.items():
        try:
            renamed[whole] = torch.cat([numbered[number] for number in range(3)])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"{source}: query, key or value of {whole} is missing or misshapen; download the file again"
            ) from error
    return renamed, dropped


def _constants(network: Mask2Former, config: Mask2FormerConfig) -> dict[str, Tensor]:
    """Return the network's buffers that are no weights, and that files may lack."""
    keys = [name for name, _ in network.named_buffers()]
    found: dict[str, Tensor] = {key: torch.tensor(0) for key in keys if key.endswith(".num_batches_tracked")}
    if isinstance(config.backbone, SwinConfig):
        from torchvision.models.swin_transformer import ShiftedWindowAttention

        window = [config.backbone.window] * 2
        positions = ShiftedWindowAttention(1, window, [0, 0], 1).relative_position_index
        found |= {key: positions for key in keys if re.search(r"\.relative_position_index$", key)}
    return found


def _checked_classes(classes: Vocabulary | None, count: int, *, source: str) -> Vocabulary:
    if classes is None and count not in CLASSES:
        known = ", ".join(f"{number} ({name})" for number, name in CLASSES.items())
        raise CheckpointError(
            f"{source} has {count} classes and does not name them, which is possible for {known} only; use a "
            "checkpoint in the layout of Hugging Face, whose config.json names the classes"
        )
    found = Vocabulary.named(CLASSES[count]) if classes is None else classes
    if len(found) != count:
        raise CheckpointError(
            f"{source} has {count} classes, but {len(found)} class names; use config.json and weights of the "
            "same model"
        )
    return found
