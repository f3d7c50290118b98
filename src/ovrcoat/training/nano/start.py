"""nano before its training: pretrained towers, the taught map between them, random decoders."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.nn import functional as F

from ovrcoat.atomic import write_atomically
from ovrcoat.config import ModelConfig, NanoConfig, NanoTextConfig
from ovrcoat.errors import CheckpointError, ConfigError, DatasetError
from ovrcoat.model.encoders.nano import LiteTrunk, NanoEncoder
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.training.config import DataConfig, NanoTowersConfig, StartConfig
from ovrcoat.training.nano import alignment
from ovrcoat.training.nano.alignment import Lesson, Projection
from ovrcoat.training.nano.pooled import PooledSegments, Pooler
from ovrcoat.training.nano.towers import SOURCES, lite_trunk, sentence_tower
from ovrcoat.training.recipe import open_source
from ovrcoat.training.samples import is_held_out
from ovrcoat.training.start import Start

HELD_OUT_PHOTOS = 0.1  # share of ImageNet's photos that teach nothing: they calibrate if no other photo can


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """What joins the towers: the map, and the inverse temperature of its cosines."""

    projection: Projection
    scale: float


def nano_start(settings: StartConfig, *, base: Path, folder: Path, seed: int) -> Start:
    """Build nano from its towers' packages; the map between them is taught by ImageNet's names and `data`.

    `folder` keeps the pooled features, the taught map, and alignment.json: the temperature and, per data set,
    the share of segments named right among its own names. What is kept is used again if nothing that it
    depends on has changed.

    Raises:
        ConfigError: `settings` give no towers.
        MissingExtraError: the towers' packages are not installed.
        DatasetError: a data set is missing, damaged, or wholly held out.
        CheckpointError: a kept file is damaged, or the text tower is another one than ours.
    """
    towers = settings.nano_towers
    if towers is None:
        raise ConfigError("start.nano_towers is missing; nano starts from the photos that it names")
    trunk, classifier = lite_trunk()
    words = sentence_tower()
    config = ModelConfig(
        encoder=NanoConfig(text=NanoTextConfig(vocabulary_size=words.token_embedding.num_embeddings)),
        pixel_decoder=settings.pixel_decoder,
        mask_decoder=settings.mask_decoder,
        inference=settings.inference,
        templates=settings.templates,
    )
    torch.manual_seed(seed)
    network = build_network(config).eval()
    encoder = nano_encoder(network)
    encoder.visual_trunk.load_state_dict(trunk.state_dict())
    encoder.text_tower.load_state_dict(words.state_dict())
    pooled = pool_all(Pooler(trunk, settings.inference, folder=folder), towers, base=base)
    joint = kept_joint(network, classifier, pooled, settings=settings, folder=folder, seed=seed)
    with torch.no_grad():
        encoder.projection.weight.copy_(joint.projection.weight)
        encoder.projection.bias.copy_(joint.projection.bias)
        encoder.logit_scale.fill_(math.log(joint.scale))
    teachers = ["ImageNet-1k", *(Path(data.path).name for data in towers.data)]
    return Start(network, config, {"family": "nano", **SOURCES, "joined_by": ", ".join(teachers)})
