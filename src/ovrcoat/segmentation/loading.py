"""Load what a segmenter consists of: one model, or the masks of one source and the names of another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import torch

from ovrcoat.checkpoints import native
from ovrcoat.checkpoints.catalog import SUFFIX, find_mask_source, is_mask2former_folder
from ovrcoat.checkpoints.encoder_file import EncoderFile
from ovrcoat.checkpoints.native import LoadedModel
from ovrcoat.config import InferenceConfig, ModelConfig
from ovrcoat.data.mask_files import MaskFiles
from ovrcoat.errors import ConfigError
from ovrcoat.model.compiling import compile_image_branch
from ovrcoat.model.mixed_network import AnyNetwork, MaskNetwork, MixedNetwork
from ovrcoat.model.naming_network import NamingNetwork
from ovrcoat.segmentation.mixed_embedder import Embedder, MixedEmbedder
from ovrcoat.segmentation.prompt import TextEmbedder
from ovrcoat.segmentation.text_cache import TextCache
from ovrcoat.vocabulary import Vocabulary

PTH_SUFFIXES = (".pth", ".pt", ".bin", ".pkl")


@dataclass(frozen=True, slots=True)
class LoadedParts:
    """The arguments of `Segmenter`.

    Attributes:
        network: one network, or two as one.
        config: configuration of the network that names masks, with the inference settings of the masks.
        training_vocabulary: decides which categories are seen.
        provenance: where the weights come from.
        embedder: embeds class names.
        mask_files: masks from files.
    """

    network: AnyNetwork
    config: ModelConfig
    training_vocabulary: Vocabulary
    provenance: Mapping[str, str]
    embedder: Embedder
    mask_files: MaskFiles | None = None


@dataclass(frozen=True, slots=True)
class TextSettings:
    """How class names are embedded.

    Attributes:
        cache: the cache on disk; None for no cache.
        dtype: dtype of the matrix products.
    """

    cache: TextCache | None
    dtype: torch.dtype


def load_parts(
    names: Path | EncoderFile,
    masks: str | PathLike[str] | None,
    *,
    device: torch.device,
    image_dtype: torch.dtype,
    text: TextSettings,
    compile: bool = False,
) -> LoadedParts:
    """Load the model that names masks, and the source of the masks.

    Args:
        names: file of a model, or an encoder.
        masks: name or file of a model, folder or file of a Mask2Former, or folder or file of masks. None: the
            masks of `names`.
        device: where the networks are placed.
        image_dtype: dtype of masks and features.
        text: how class names are embedded.
        compile: compile the image branch.

    Raises:
        ConfigError: there is no such source of masks, there is none for an encoder, or the model cannot be
            compiled.
        CheckpointError: a file is damaged, or does not fit its network.
    """
    if compile and masks is not None:
        raise ConfigError("a model with masks from elsewhere cannot be compiled; omit compile")
    source = None if masks is None else find_mask_source(masks)
    if isinstance(names, EncoderFile):
        if source is None:
            raise ConfigError(
                f"the encoder {names.name} names masks and cannot propose them; give a source of masks, too "
                "(--masks)"
            )
        parts = _encoder(names, device=device, image_dtype=image_dtype, text=text)
    else:
        named = native.load(names, device=device, image_dtype=image_dtype)
        if compile:
            compile_image_branch(named.network)
        parts = LoadedParts(
            named.network,
            config=named.config,
            training_vocabulary=named.training_vocabulary,
            provenance=named.provenance,
            embedder=_embedder(named, text),
        )
    if source is None:
        return parts
    if is_mask2former_folder(source) or source.suffix in PTH_SUFFIXES:
        return _with_mask2former(parts, source, device=device, image_dtype=image_dtype)
    if source.suffix == SUFFIX:
        model = native.load(source, device=device, image_dtype=image_dtype)
        return replace(
            _mixed(parts, model.network, inference=model.config.inference),
            training_vocabulary=model.training_vocabulary,
            provenance=model.provenance | _of_names(parts.provenance),
            embedder=MixedEmbedder(_embedder(model, text), parts.embedder),
        )
    return replace(parts, mask_files=MaskFiles(source))


def _encoder(
    names: EncoderFile, *, device: torch.device, image_dtype: torch.dtype, text: TextSettings
) -> LoadedParts:
    from ovrcoat.checkpoints.encoder_weights import load_encoder  # no other model needs it

    loaded = load_encoder(names)
    loaded.network.set_image_dtype(image_dtype)
    network = loaded.network.to(device).eval()
    return LoadedParts(
        network,
        config=loaded.config,
        training_vocabulary=Vocabulary(categories=()),  # no classifier was trained
        provenance=loaded.provenance,
        embedder=TextEmbedder(network, config=loaded.config, cache=text.cache, dtype=text.dtype),
    )


def _with_mask2former(
    parts: LoadedParts, source: Path, *, device: torch.device, image_dtype: torch.dtype
) -> LoadedParts:
    from ovrcoat.checkpoints.mask2former import INFERENCE, load_mask2former  # no other model needs it

    loaded = load_mask2former(source)
    loaded.network.set_image_dtype(image_dtype)
    return replace(
        _mixed(parts, loaded.network.to(device), inference=INFERENCE),
        training_vocabulary=loaded.classes,
        provenance={"source": source.name, "family": "Mask2Former"} | _of_names(parts.provenance),
        embedder=MixedEmbedder(loaded.classes, parts.embedder),
    )


def _of_names(provenance: Mapping[str, str]) -> dict[str, str]:
    """Return the provenance of the model that names masks, with keys that tell it from that of the masks."""
    return {f"{key}_of_names": value for key, value in provenance.items()}


def _mixed(parts: LoadedParts, masks: MaskNetwork, *, inference: InferenceConfig) -> LoadedParts:
    """Return the parts with masks of another network, and its inference settings.

    Only `ensemble_on_valid_mask` belongs to the encoder that names the masks.
    """
    names = parts.config.inference
    inference = inference.model_copy(update={"ensemble_on_valid_mask": names.ensemble_on_valid_mask})
    assert isinstance(parts.network, NamingNetwork)  # it comes from a file of one network
    test_size = (names.short_side, names.max_long_side)
    network = MixedNetwork(masks, parts.network, names_test_size=test_size)
    return replace(parts, network=network, config=parts.config.model_copy(update={"inference": inference}))


def _embedder(model: LoadedModel, text: TextSettings) -> TextEmbedder:
    return TextEmbedder(
        model.network, config=model.config, known=model.text_embeddings, cache=text.cache, dtype=text.dtype
    )
