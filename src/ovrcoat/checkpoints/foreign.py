"""Published weights (FC-CLIP, OVRCOAT) into our network, by tables of names.

Nothing in a foreign file is executed: `.pth` files are read with `weights_only=True`. Every weight of a file
is used, or dropped for a reason that the report tells; anything else is an error that names it.
"""

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ovrcoat._version import __version__
from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.architecture import Shapes, detect, fitting_preset
from ovrcoat.checkpoints.fitting import assign, listing
from ovrcoat.checkpoints.published_names import CLIP_NAMES, PUBLISHED_NAMES, our_name, reason_to_drop
from ovrcoat.config import InferenceConfig, ModelConfig, ResNetConfig
from ovrcoat.errors import CheckpointError
from ovrcoat.model.encoders.presets import PRETRAINED_TAGS
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.system.fingerprints import file_sha256
from ovrcoat.vocabulary import Vocabulary

VOID = "text_classifier.void_embedding"
FROZEN_COPY = "frozen_backbone."  # only OVRCOAT's files carry one


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """A network made from published weights, and what became of them.

    `dropped`: key in the file → why it is left out. `filled`: our names of weights that came from OpenCLIP's.
    """

    network: SegmentationNetwork
    config: ModelConfig
    dropped: dict[str, str]
    filled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What `convert` did: name and SHA-256 of the source, what was dropped (with reasons) and filled in."""

    source: str
    sha256: str
    dropped: dict[str, str]
    filled: tuple[str, ...]


def convert(source: str | Path, target: str | Path, *, clip: str | Path | None = None) -> ImportReport:
    """Turn a published checkpoint into one of ours.

    `clip` is a file with OpenCLIP's state dict, for CLIP weights that `source` lacks; without it they are
    downloaded.

    Raises:
        CheckpointError: a file cannot be read, would execute code, or does not fit.
        OutputError: `target` cannot be written.
    """
    source = Path(source)
    published = read_state(source)
    model = import_state(
        published, source=source.name, clip_state=None if clip is None else read_state(Path(clip))
    )
    digest = file_sha256(source)
    native.save(
        target,
        model.network,
        config=model.config,
        training_vocabulary=Vocabulary.named("coco"),  # what every released model was trained on
        provenance={
            "source": source.name,
            "source_sha256": digest,
            "filled_from_openclip": str(len(model.filled)),
            "licence": "as published by the authors of the source (FC-CLIP: Apache-2.0)",
            "tool": f"ovrcoat {__version__}",
        },
    )
    return ImportReport(source=source.name, sha256=digest, dropped=model.dropped, filled=model.filled)


def import_state(
    published: Mapping[str, Tensor],
    *,
    source: str,
    config: ModelConfig | None = None,
    clip_state: Mapping[str, Tensor] | None = None,
) -> ImportedModel:
    """Build the network that a released state dict describes (or `config` does) and give it these weights.

    `source` is the file's name, for messages; `clip_state` an OpenCLIP state dict for what the file lacks.

    Raises:
        CheckpointError: a weight is unknown, missing or mis-shaped; it is named.
    """
    state, names, dropped = _renamed(published, source)
    spare = {} if clip_state is None else _clip_renamed(clip_state)
    if config is None:
        shapes = {key: tuple(value.shape) for key, value in {**spare, **state}.items()}
        config = _with_inference(detect(shapes, source=source), dropped)
    with torch.device("meta"):
        network = build_network(config)
    lacking = [key for key in network.state_dict() if key not in state and key.startswith("encoder.")]
    if lacking and clip_state is None:
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        spare = _clip_renamed(download_clip(fitting_preset(Shapes(shapes, source=source)), wanted_by=source))
    filled = tuple(key for key in lacking if key in spare)
    state.update((key, spare[key]) for key in filled)
    assign(network, state, source=source, names=names)
    return ImportedModel(network=network.eval(), config=config, dropped=dropped, filled=filled)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a published file: `.safetensors`, or a `.pth` whose state dict lies under "model".

    Raises:
        CheckpointError: it is missing, damaged, asks for code to be run, or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; give the path of published weights")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path.name} cannot be read ({error}); fetch it again") from error
    payload = _unpickled(path)
    state = payload.get("model", payload) if isinstance(payload, dict) else payload
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{path.name} holds no state dict, neither as a whole nor under 'model'")
    wrong = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        raise CheckpointError(
            f"{path.name}: no tensors but something else under {listing(wrong)}; expected a state dict, "
            "as a whole or under 'model'"
        )
    return {str(key): value for key, value in state.items()}


def download_clip(name: str, *, wanted_by: str) -> dict[str, Tensor]:
    """OpenCLIP's published weights of a CLIP model, from the Hugging Face hub or its local cache.

    Raises:
        CheckpointError: there are none, or they cannot be fetched.
    """
    remedy = f"Fetch an OpenCLIP state dict of {name} and run: ovrcoat convert IN OUT --clip FILE"
    tag = PRETRAINED_TAGS.get(name)
    if tag is None:
        raise CheckpointError(
            f"{wanted_by} lacks CLIP weights, and OpenCLIP publishes none of {name}. {remedy}"
        )
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    try:
        path = download_pretrained(get_pretrained_cfg(name, tag))
    except (OSError, RuntimeError, ValueError) as error:  # offline, refused, not found: all derive from these
        raise CheckpointError(
            f"{wanted_by} lacks CLIP weights; those of {name} ({tag}) could not be downloaded: "
            f"{error}. {remedy}"
        ) from error
    return read_state(Path(path))


def clip_encoder_state(name: str, *, file: Path | None = None) -> dict[str, Tensor]:
    """The state dict of our encoder from OpenCLIP's weights: from `file`, or downloaded.

    Raises:
        CheckpointError: as for `read_state` and `download_clip`.
    """
    state = read_state(file) if file is not None else download_clip(name, wanted_by=name)
    return {key.removeprefix("encoder."): value for key, value in _clip_renamed(state).items()}


def _unpickled(path: Path) -> object:
    """Read a PyTorch file without running any code that it may hold."""
    try:
        with warnings.catch_warnings(action="ignore"):  # PyTorch warns of pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} is refused and nothing in it was run: it holds something else than plain weights, "
            f"which could execute code ({_reason(str(error))}). Ask its author for a plain state dict"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path.name} cannot be read ({_reason(str(error))}). It is truncated, or no file of PyTorch "
            "weights; fetch it again"
        ) from error


def _reason(message: str) -> str:
    """The line of PyTorch's long advice that says what was wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return next((line for line in lines if "Unsupported" in line), lines[0] if lines else "no reason given")[
        :200
    ]


def _renamed(
    published: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str]]:
    """Tensors under our names; our name → key in the file; dropped key → reason."""
    state: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    dropped: dict[str, str] = {}
    unknown = []
    for key, value in published.items():
        if reason := reason_to_drop(key):
            dropped[key] = reason
        elif ours := our_name(key, PUBLISHED_NAMES):
            # the released void embedding is a table of one row
            state[ours] = value.squeeze(0) if ours == VOID else value
            names[ours] = key
        else:
            unknown.append(key)
    if unknown:
        raise CheckpointError(
            f"{source}: {len(unknown)} unknown weights: {listing(unknown)}. Only FC-CLIP's and OVRCOAT's "
            "released state dicts can be imported"
        )
    return state, names, dropped


def _clip_renamed(clip_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An OpenCLIP state dict under our names; what it has beside weights (sizes, a mask) finds no name."""
    renamed = ((our_name(key, CLIP_NAMES), value) for key, value in clip_state.items())
    return {ours: value for ours, value in renamed if ours is not None}


def _with_inference(config: ModelConfig, dropped: Mapping[str, str]) -> ModelConfig:
    """The test-time settings that were released with the weights."""
    from_ovrcoat = any(key.startswith(FROZEN_COPY) for key in dropped)
    defaults = InferenceConfig()
    inference = InferenceConfig(
        ensemble_on_valid_mask=isinstance(config.encoder, ResNetConfig),
        overlap_threshold=defaults.overlap_threshold if from_ovrcoat else 0.8,  # FC-CLIP's configuration
    )
    return config.model_copy(update={"inference": inference})
