"""Initial weights of a training run: those of a model, or of a CLIP encoder with new decoders."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import find_model
from ovrcoat.checkpoints.foreign import clip_encoder_state
from ovrcoat.config import ModelConfig
from ovrcoat.errors import CheckpointError, ConfigError
from ovrcoat.model.encoders.presets import encoder_presets
from ovrcoat.model.mask_extent import MaskExtent
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.model.query_selection import QuerySelector
from ovrcoat.training.config import StartConfig


@dataclass(frozen=True, slots=True)
class InitialModel:
    """A network with its configuration and provenance, as a checkpoint records them."""

    network: SegmentationNetwork
    config: ModelConfig
    provenance: dict[str, str]


def load_initial_model(settings: StartConfig, *, base: Path, seed: int) -> InitialModel:
    """Build the network that training starts from.

    Args:
        settings: the source of the weights.
        base: folder that relative paths refer to.
        seed: of the random weights of new decoders and of the query selection.

    Raises:
        ConfigError: there is no such model or encoder, or the model cannot be trained, or has another number
            of selected queries.
        CheckpointError: the weights are damaged or do not fit the architecture.
    """
    if settings.model is not None:
        local = base / settings.model
        model = read_model(local if local.is_file() else find_model(settings.model))
        if model.config.text_transfer is not None:
            raise ConfigError(
                f"{settings.model} is a MAFT+ model, which can be used but not trained: its losses are not "
                "implemented. Start from an FC-CLIP, OVRCOAT or nano model, or from start.clip"
            )
        model = add_selected_queries(model, settings.selected_queries, seed=seed)
        return add_mask_extent(model, seed=seed) if settings.local_masks else model
    return _clip_with_new_decoders(settings, base=base, seed=seed)


def add_selected_queries(model: InitialModel, count: int, *, seed: int) -> InitialModel:
    """Add `count` selected queries (`model/query_selection.py`) to the model, if it has none yet.

    Args:
        model: its network is changed in place.
        count: 0 changes nothing.
        seed: of the random weights of the query selection.

    Raises:
        ConfigError: the model has another number of selected queries.
    """
    present = model.config.mask_decoder.selected_queries
    if count in (0, present):
        return model
    if present:
        raise ConfigError(
            f"start.selected_queries is {count}, but the model has {present}; remove the setting"
        )
    decoder = model.config.mask_decoder.model_copy(update={"selected_queries": count})
    config = model.config.model_copy(update={"mask_decoder": decoder})
    torch.manual_seed(seed)
    model.network.mask_decoder.selector = QuerySelector(decoder.channels, count=count)
    return replace(model, config=config)


def add_mask_extent(model: InitialModel, *, seed: int) -> InitialModel:
    """Limit the masks of selected queries to an extent (`model/mask_extent.py`), if they are not yet.

    Args:
        model: its network is changed in place.
        seed: of the random weights that predict the extent.

    Raises:
        ConfigError: the model has no selected queries.
    """
    decoder = model.config.mask_decoder
    if decoder.local_masks:
        return model
    if not decoder.selected_queries:
        raise ConfigError("start.local_masks needs selected queries; set start.selected_queries")
    config = model.config.model_copy(
        update={"mask_decoder": decoder.model_copy(update={"local_masks": True})}
    )
    torch.manual_seed(seed)
    selector = model.network.mask_decoder.selector
    assert selector is not None
    selector.extent = MaskExtent(decoder.channels)
    return replace(model, config=config)


def read_model(path: Path) -> InitialModel:
    """Read a checkpoint.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    loaded = native.load(path)
    return InitialModel(loaded.network, loaded.config, loaded.provenance)


def _clip_with_new_decoders(settings: StartConfig, *, base: Path, seed: int) -> InitialModel:
    """OpenCLIP's weights in the encoder, random weights in the decoders."""
    name = settings.clip or ""
    presets = encoder_presets()
    if name not in presets:
        raise ConfigError(f"unknown CLIP encoder {name!r}; expected one of {', '.join(presets)}")
    preset = presets[name]
    config = ModelConfig(
        encoder=preset.config,
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
        raise CheckpointError(
            f"the weights of {name} do not fit its architecture: {error}. Check start.clip and "
            "start.clip_file"
        ) from error
    provenance = {"family": config.encoder.family, "clip": name}
    if preset.license is not None:
        provenance["clip_license"] = preset.license
    return InitialModel(network, config, provenance)
