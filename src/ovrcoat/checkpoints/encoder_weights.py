"""Load an encoder with OpenCLIP's weights, as a network that names masks."""

from dataclasses import dataclass
from difflib import get_close_matches

from ovrcoat.checkpoints.encoder_file import EncoderFile
from ovrcoat.checkpoints.fitting import assign
from ovrcoat.checkpoints.foreign import clip_encoder_state
from ovrcoat.config import InferenceConfig, ModelConfig, ResNetConfig
from ovrcoat.errors import ConfigError
from ovrcoat.model.encoders.presets import encoder_presets
from ovrcoat.model.naming_network import NamingNetwork
from ovrcoat.model.network import build_encoder


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """A network that only names masks.

    Attributes:
        network: the network.
        config: configuration of the encoder, with the published settings of everything else.
        provenance: origin of the weights.
    """

    network: NamingNetwork
    config: ModelConfig
    provenance: dict[str, str]


def load_encoder(file: EncoderFile) -> LoadedEncoder:
    """Load an encoder.

    Raises:
        ConfigError: there is no such encoder.
        CheckpointError: the weights are damaged or do not fit.
    """
    presets = encoder_presets()
    preset = presets.get(file.name)
    if preset is None:
        close = get_close_matches(file.name, presets, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(
            f"unknown encoder {file.name!r}, expected a name of `ovrcoat models --encoders`{hint}"
        )
    encoder = build_encoder(preset.config)
    assign(encoder, clip_encoder_state(file.name, file=file.path), source=file.path.name)
    inference = InferenceConfig(ensemble_on_valid_mask=isinstance(preset.config, ResNetConfig))
    provenance = {"source": file.path.name, "family": preset.config.family, "clip": file.name}
    if preset.license is not None:
        provenance["clip_license"] = preset.license
    config = ModelConfig(encoder=preset.config, inference=inference)
    return LoadedEncoder(NamingNetwork(encoder), config, provenance)
