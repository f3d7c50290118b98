"""The network that a training starts from: a model as it is, or pretrained towers with new decoders."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import find_model
from ovrcoat.checkpoints.foreign import clip_encoder_state
from ovrcoat.config import ModelConfig
from ovrcoat.errors import CheckpointError, ConfigError
from ovrcoat.model.encoders.presets import CLIP_ENCODERS
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.training.config import StartConfig


@dataclass(frozen=True, slots=True)
class Start:
    """A network with what a checkpoint says of it."""

    network: SegmentationNetwork
    config: ModelConfig
    provenance: dict[str, str]


def start(settings: StartConfig, *, base: Path, folder: Path, seed: int) -> Start:
    """Build the network that `settings` describe; `folder` keeps what takes long to compute.

    Raises:
        ConfigError: there is no such model or encoder.
        CheckpointError: weights are damaged or do not fit.
        MissingExtraError: nano's towers need packages that are not installed.
    """
    if settings.model is not None:
        beside = base / settings.model
        loaded = native.load(beside if beside.is_file() else find_model(settings.model))
        return Start(loaded.network, loaded.config, loaded.provenance)
    if settings.nano_towers is not None:
        from ovrcoat.training.nano.start import nano_start

        return nano_start(settings, base=base, folder=folder, seed=seed)
    return _clip_start(settings, base=base, seed=seed)


def _clip_start(settings: StartConfig, *, base: Path, seed: int) -> Start:
    """OpenCLIP's weights in the encoder, random decoders."""
    name = settings.clip or ""
    if name not in CLIP_ENCODERS:
        raise ConfigError(f"unknown CLIP encoder {name!r}; there are {', '.join(CLIP_ENCODERS)}")
    config = ModelConfig(
        encoder=CLIP_ENCODERS[name],
        pixel_decoder=settings.pixel_decoder,
        mask_decoder=settings.mask_decoder,
        inference=settings.inference,
        templates=settings.templates,
    )
    torch.manual_seed(seed)
    network = build_network(config)
    file = None if settings.clip_file is None else base / settings.clip_file
    try:
        network.encoder.load_state_dict(clip_encoder_state(name, file=file))
    except RuntimeError as error:
        raise CheckpointError(f"the weights for {name} do not fit it: {error}") from error
    return Start(network, config, {"family": config.encoder.family, "clip": name})
