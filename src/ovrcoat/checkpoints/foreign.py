"""Conversion of published weights (FC-CLIP, OVRCOAT, MAFT+) by tables of names.

Nothing in a published file is executed: `.pth` files are read with `weights_only=True`. Every weight of a
file is used, or dropped for a reason that is reported. Any other weight is an error that names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from ovrcoat._version import __version__
from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.architecture import WeightShapes, detect, fitting_preset
from ovrcoat.checkpoints.catalog import SUFFIX
from ovrcoat.checkpoints.file_kinds import is_safetensors
from ovrcoat.checkpoints.fitting import assign, listing
from ovrcoat.checkpoints.published_names import CLIP_NAMES, PUBLISHED_NAMES, our_name, reason_to_drop
from ovrcoat.checkpoints.state_files import read_state
from ovrcoat.choices import Arrangement
from ovrcoat.config import InferenceConfig, ModelConfig, ResNetConfig
from ovrcoat.errors import CheckpointError, ConfigError, OutputError
from ovrcoat.model.encoders.presets import encoder_presets
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.system.exclusive_output import exclusive_output
from ovrcoat.system.fingerprints import file_sha256
from ovrcoat.system.paths import is_file
from ovrcoat.vocabulary import Vocabulary

VOID = "text_classifier.void_embedding"
FROZEN_COPY = "frozen_backbone."  # only in OVRCOAT's files
TRANSFER = "cdt."  # only in MAFT+'s files
CLASS_WEIGHTS = "criterion.empty_weight"  # of the training loss: one per training category, and one for void
# Number of these weights in MAFT+'s files → form of the transfer. The panoptic model was trained on the 133
# categories of COCO panoptic, the semantic ones on the 171 of COCO-Stuff (released configuration files).
ARRANGEMENTS: dict[int, Arrangement] = {134: "panoptic", 172: "semantic"}
TRAINING_VOCABULARIES: dict[Arrangement, str] = {"panoptic": "coco", "semantic": "coco-stuff"}


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A network with published weights.

    Attributes:
        network: in eval mode.
        config: its configuration, detected from the weights.
        dropped: keys in the file that are not used → reason.
        filled: our names of weights that were missing in the file and come from OpenCLIP.
    """

    network: SegmentationNetwork
    config: ModelConfig
    dropped: dict[str, str]
    filled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Result of `convert`.

    Attributes:
        source: name of the published file.
        sha256: its SHA-256.
        dropped: keys in the file that are not used → reason.
        filled: our names of weights that were missing in the file and come from OpenCLIP.
        arrangement: of MAFT+'s transfer; None for other models.
    """

    source: str
    sha256: str
    dropped: dict[str, str]
    filled: tuple[str, ...]
    arrangement: Arrangement | None = None


def convert(
    source: str | Path,
    target: str | Path,
    *,
    clip: str | Path | None = None,
    arrangement: Arrangement | None = None,
) -> ImportReport:
    """Convert a published checkpoint to a native one.

    Args:
        source: the published file (.pth or .safetensors).
        target: the file to write (.safetensors).
        clip: a file with OpenCLIP's state dict, for CLIP weights that are missing in `source`. None: missing
            weights are downloaded.
        arrangement: see `import_state`.

    Raises:
        CheckpointError: a file cannot be read, could execute code, or does not match a known architecture.
        ConfigError: `target` has another suffix than `.safetensors`, or is `source`.
        OutputError: `target` cannot be written, is a file of another program, or is being written.
    """
    source, target = Path(source), Path(target)
    _check_target(source, target)
    with exclusive_output(target):
        return _convert(source, target, clip=clip, arrangement=arrangement)


def _convert(
    source: Path, target: Path, *, clip: str | Path | None, arrangement: Arrangement | None
) -> ImportReport:
    published = read_state(source)
    model = import_state(
        published,
        source=source.name,
        clip_state=None if clip is None else read_state(Path(clip)),
        arrangement=arrangement,
    )
    digest = file_sha256(source)
    native.save(
        target,
        model.network,
        config=model.config,
        training_vocabulary=_training_vocabulary(model.config),
        provenance={
            "source": source.name,
            "source_sha256": digest,
            "filled_from_openclip": str(len(model.filled)),
            "license": "as published by the authors of the source (FC-CLIP: Apache-2.0, MAFT+: MIT)",
            "tool": f"ovrcoat {__version__}",
        },
    )
    transfer = model.config.text_transfer
    return ImportReport(
        source=source.name,
        sha256=digest,
        dropped=model.dropped,
        filled=model.filled,
        arrangement=None if transfer is None else transfer.arrangement,
    )


def _check_target(source: Path, target: Path) -> None:
    """Check the output before the long work."""
    if target.suffix != SUFFIX:
        raise ConfigError(
            f"the output {target} does not end in {SUFFIX}, the format that is written; name it "
            f"{target.with_suffix(SUFFIX).name}"
        )
    if is_file(target) and is_file(source) and target.samefile(source):
        raise ConfigError(f"the output {target} is the input; give it another name")
    if is_file(target) and not (is_safetensors(target) and _is_ours(target)):
        raise OutputError(
            f"{target} exists and is not an ovrcoat checkpoint, so it is not replaced; move it, or choose "
            "another name"
        )


def _is_ours(path: Path) -> bool:
    try:
        native.read_header(path)
    except CheckpointError:
        return False
    return True


def import_state(
    published: Mapping[str, Tensor],
    *,
    source: str,
    config: ModelConfig | None = None,
    clip_state: Mapping[str, Tensor] | None = None,
    arrangement: Arrangement | None = None,
) -> ImportedModel:
    """Build a network from a released state dict.

    Args:
        published: weights under their published names.
        source: name of the file, for messages.
        config: the configuration. None: it is detected from the weights.
        clip_state: OpenCLIP's state dict, for missing CLIP weights. None: they are downloaded.
        arrangement: form of MAFT+'s transfer, if `config` is None. None: by the number of training
            categories in the file.

    Raises:
        CheckpointError: weights are unknown, missing or misshapen; the message names them. Or `arrangement`
            is needed and cannot be detected.
        ConfigError: `arrangement` is given, but the weights are not MAFT+'s.
    """
    state, names, dropped = _renamed(published, source)
    clip_weights = {} if clip_state is None else _clip_renamed(clip_state)
    if config is None:
        shapes = {key: tuple(value.shape) for key, value in {**clip_weights, **state}.items()}
        form = _arrangement(published, arrangement, source=source)
        try:
            detected = detect(shapes, source=source, arrangement=form)
        except ValidationError as error:
            reasons = "; ".join(detail["msg"] for detail in error.errors())
            raise CheckpointError(
                f"{source} has weights of no released network: {reasons}. Use an original file"
            ) from error
        config = _with_inference(detected, dropped)
    with torch.device("meta"):
        network = build_network(config)
    missing = [key for key in network.state_dict() if key not in state and key.startswith("encoder.")]
    if missing and clip_state is None:
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        clip_weights = _clip_renamed(
            download_clip(fitting_preset(WeightShapes(shapes, source=source)), wanted_by=source)
        )
    filled = tuple(key for key in missing if key in clip_weights)
    state.update((key, clip_weights[key]) for key in filled)
    assign(network, state, source=source, names=names)
    return ImportedModel(network=network.eval(), config=config, dropped=dropped, filled=filled)


def download_clip(
    name: str, *, wanted_by: str, use: str = "run: ovrcoat convert IN OUT --clip FILE"
) -> dict[str, Tensor]:
    """Download OpenCLIP's weights of a CLIP model from the Hugging Face Hub, or read its local cache.

    Args:
        name: of the CLIP model.
        wanted_by: the file or setting that lacks these weights, for messages.
        use: how to use a file of these weights instead, for messages.

    Raises:
        CheckpointError: there are no such weights, or they cannot be downloaded.
    """
    remedy = f"Download an OpenCLIP state dict of {name} and {use}"
    preset = encoder_presets().get(name)
    tag = None if preset is None else preset.tag
    if tag is None:
        raise CheckpointError(
            f"{wanted_by} lacks CLIP weights, and OpenCLIP publishes no weights of {name}. {remedy}"
        )
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    try:
        path = download_pretrained(get_pretrained_cfg(name, tag))
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # offline, denied or not found: all derive from these
        raise CheckpointError(
            f"{wanted_by} lacks CLIP weights, and those of {name} ({tag}) could not be downloaded: "
            f"{error}. {remedy}"
        ) from error
    return read_state(Path(path))


def clip_encoder_state(name: str, *, file: Path | None = None) -> dict[str, Tensor]:
    """Return OpenCLIP's weights under the names of our encoder, from `file` or downloaded.

    Raises:
        CheckpointError: as for `read_state` and `download_clip`.
    """
    state = (
        read_state(file)
        if file is not None
        else download_clip(name, wanted_by="start.clip", use="set start.clip_file")
    )
    return {key.removeprefix("encoder."): value for key, value in _clip_renamed(state).items()}


def _renamed(
    published: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str]]:
    """Return tensors under our names; our name → key in the file; dropped key → reason."""
    state: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    dropped: dict[str, str] = {}
    unknown = []
    for key, value in published.items():
        if reason := reason_to_drop(key):
            dropped[key] = reason
        elif ours := our_name(key, PUBLISHED_NAMES):
            # the released void embedding is an embedding table with one row
            state[ours] = value.squeeze(0) if ours == VOID else value
            names[ours] = key
        else:
            unknown.append(key)
    if unknown and all(key.startswith(native.OUR_PARTS) for key in unknown):
        raise CheckpointError(
            f"{source} has ovrcoat's own weight names, so it is not a published file. If it has ovrcoat's "
            "metadata, use it without conversion; otherwise another program saved it again without them: use "
            "the original file"
        )
    if unknown:
        raise CheckpointError(
            f"{source}: {len(unknown)} unknown weights: {listing(unknown)}. Only the released state dicts of "
            "FC-CLIP, OVRCOAT and MAFT+ can be converted"
        )
    return state, names, dropped


def _clip_renamed(clip_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an OpenCLIP state dict under our names, without its entries that are not weights."""
    renamed = ((our_name(key, CLIP_NAMES), value) for key, value in clip_state.items())
    return {ours: value for ours, value in renamed if ours is not None}


def _arrangement(
    published: Mapping[str, Tensor], requested: Arrangement | None, *, source: str
) -> Arrangement | None:
    """Return the form of MAFT+'s transfer; None for other models."""
    if not any(key.startswith(TRANSFER) for key in published):
        if requested is not None:
            raise ConfigError(
                f"an arrangement applies to MAFT+, but {source} has no weights of its transfer; omit it"
            )
        return None
    weights = published.get(CLASS_WEIGHTS)
    found = requested or (None if weights is None else ARRANGEMENTS.get(weights.numel()))
    if found is None:
        raise CheckpointError(
            f"{source} is a MAFT+ model, and neither its weights nor the number of its training categories "
            "show whether it is a panoptic or a semantic model. Convert it with --arrangement panoptic "
            "(published as maftp_l_pano.pth) or --arrangement semantic (maftp_l.pth, maftp_b.pth)"
        )
    return found


def _training_vocabulary(config: ModelConfig) -> Vocabulary:
    """Return the categories of the training data, which are those of COCO for all other released models."""
    transfer = config.text_transfer
    return Vocabulary.named("coco" if transfer is None else TRAINING_VOCABULARIES[transfer.arrangement])


def _with_inference(config: ModelConfig, dropped: Mapping[str, str]) -> ModelConfig:
    """Return the configuration with the inference settings that were released with the weights."""
    if config.text_transfer is not None:
        inference = maft_plus_inference(config.text_transfer.arrangement)
        return config.model_copy(update={"inference": inference})
    from_ovrcoat = any(key.startswith(FROZEN_COPY) for key in dropped)
    defaults = InferenceConfig()
    inference = InferenceConfig(
        ensemble_on_valid_mask=isinstance(config.encoder, ResNetConfig),
        overlap_threshold=defaults.overlap_threshold if from_ovrcoat else 0.8,  # FC-CLIP's configuration
    )
    return config.model_copy(update={"inference": inference})


def maft_plus_inference(arrangement: Arrangement) -> InferenceConfig:
    """Return MAFT+'s released settings: CLIP alone decides the category, and there is no COAT."""
    return InferenceConfig(
        alpha=1.0,
        beta=1.0,
        trust=0.0,
        object_mask_threshold=0.2,
        overlap_threshold=0.7,
        semantic_at_input_size=arrangement == "semantic",
    )
