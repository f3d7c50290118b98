"""nano before its training: pretrained towers, the taught map between them, random decoders."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from ovrcoat.config import ModelConfig, NanoConfig, NanoTextConfig
from ovrcoat.data.held_out import is_held_out
from ovrcoat.errors import CheckpointError, ConfigError, DatasetError
from ovrcoat.model.encoders.nano import NanoEncoder
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.system.atomic_write import write_atomically
from ovrcoat.training.config import NanoTowersConfig, StartConfig
from ovrcoat.training.initialization import Start
from ovrcoat.training.nano import alignment
from ovrcoat.training.nano.alignment import AlignmentSet, Projection
from ovrcoat.training.nano.pooled import PooledSegments, Pooler, hash_weights
from ovrcoat.training.nano.towers import SOURCES, lite_trunk, sentence_tower
from ovrcoat.training.sources import beside, open_source

# Share of ImageNet's classes that teach nothing if no other image can choose the temperature. Whole classes,
# for names that are taught ask for too sharp a one: measured, images of taught classes choose 28, those of
# other classes 17, where segments of COCO, VOC and MSRC would choose 15. What the map names right stays.
HELD_OUT_CLASSES = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class TeachingSet:
    """Pooled features of a data set, and which of its segments teach nothing."""

    title: str
    pooled: PooledSegments
    held_out: Bool[Tensor, " segment"]


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """What joins the towers: the map, and the inverse temperature of its cosines."""

    projection: Projection
    scale: float


def nano_start(settings: StartConfig, *, base: Path, folder: Path, seed: int) -> Start:
    """Build nano from its towers' packages; the map between them is taught by ImageNet's names and `data`.

    `folder` keeps the pooled features (unless `nano_towers.features` says another), the taught map, and
    alignment.json: the temperature and, per data set, the share of segments named right among its own names.
    What is kept is used again as long as nothing has changed that it depends on.

    Raises:
        ConfigError: `settings` give no towers.
        MissingExtraError: the towers' packages are not installed.
        DatasetError: a data set is missing, damaged, or wholly held out.
        CheckpointError: a kept file is damaged, or the text tower is another one than ours.
    """
    towers = settings.nano_towers
    if towers is None:
        raise ConfigError("start gives no nano_towers; nano starts from them and the images that they name")
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
    encoder = network.encoder
    assert isinstance(encoder, NanoEncoder)
    encoder.visual_trunk.load_state_dict(trunk.state_dict())
    encoder.text_tower.load_state_dict(words.state_dict())
    pooler = Pooler(trunk, settings.inference, folder=Path(towers.features) if towers.features else folder)
    sets = teaching_sets(pooler, towers, base=base)
    joint = kept_joint(network, classifier, sets, templates=settings.templates, folder=folder, seed=seed)
    with torch.no_grad():
        encoder.projection.weight.copy_(joint.projection.weight)
        encoder.projection.bias.copy_(joint.projection.bias)
        encoder.logit_scale.fill_(math.log(joint.scale))
    return Start(
        network,
        config,
        {"family": "nano", **SOURCES, "joined_by": ", ".join(teaching.title for teaching in sets)},
    )


def teaching_sets(pooler: Pooler, towers: NanoTowersConfig, *, base: Path) -> tuple[TeachingSet, ...]:
    """ImageNet's images first, then the data sets in their order."""
    sets = []
    for data in towers.data:
        whole = open_source(data.model_copy(update={"held_out": 0.0}), base=base)
        pooled = pooler.segments(whole)
        held_out = [is_held_out(image, data.held_out) for image in pooled.images]
        sets.append(TeachingSet(whole.dataset.name, pooled, torch.tensor(held_out)))
    share = 0.0 if any(teaching.held_out.any() for teaching in sets) else HELD_OUT_CLASSES
    folder = Path(beside(towers.names, base))
    pooled = pooler.named_images(folder)
    held_out = [is_held_out(pooled.names[label], share) for label in pooled.labels.tolist()]
    return TeachingSet(folder.name, pooled, torch.tensor(held_out)), *sets


def kept_joint(
    network: SegmentationNetwork,
    classifier: Float[Tensor, "category channel"],
    sets: Sequence[TeachingSet],
    *,
    templates: tuple[str, ...],
    folder: Path,
    seed: int,
) -> Joint:
    """The map that an earlier run has kept in `folder`; else taught now, and kept.

    Raises:
        DatasetError: an image has a class that ImageNet-1k lacks, or a data set is wholly held out.
        CheckpointError: the kept file is damaged.
    """
    encoder = network.encoder
    assert isinstance(encoder, NanoEncoder)
    key = _fingerprint(encoder.text_tower, sets, templates=templates, seed=seed)
    file = folder / f"joint-{key}.safetensors"
    if file.is_file():
        return _read(file)
    joint, report = teach(network, classifier, sets, templates=templates, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    content = to_bytes(
        {
            "weight": joint.projection.weight,
            "bias": joint.projection.bias,
            "scale": torch.tensor(joint.scale),
        }
    )
    write_atomically(folder / "alignment.json", lambda opened: opened.write(report.encode()))
    write_atomically(file, lambda opened: opened.write(content))
    return joint


def teach(
    network: SegmentationNetwork,
    classifier: Float[Tensor, "category channel"],
    sets: Sequence[TeachingSet],
    *,
    templates: tuple[str, ...],
    seed: int,
) -> tuple[Joint, str]:
    """Teach the map and choose the temperature; beside them the report, as JSON.

    Raises:
        DatasetError: an image has a class that ImageNet-1k lacks, or a data set is wholly held out.
    """
    words = alignment.class_words()
    with torch.no_grad():

        def embed(names: Sequence[str]) -> Tensor:
            return network.embed_names(names, templates)

        rows = alignment.class_rows(words, embed)
        images = _image_lesson(sets[0], tuple(wnid for wnid, _, _ in words), rows)
        alignment_sets = [images]
        for teaching in sets[1:]:
            pooled = teaching.pooled
            alignment_sets.append(
                AlignmentSet(
                    teaching.title,
                    pooled.features,
                    pooled.labels,
                    pooled.names,
                    embed(pooled.names),
                    teaching.held_out,
                )
            )
    classes = _class_lesson(classifier, images)
    projection = alignment.fit_projection(classes, alignment_sets, seed=seed)
    judges = [
        alignment_set for alignment_set in alignment_sets[1:] if alignment_set.held_out.any()
    ] or alignment_sets[:1]
    scale = alignment.calibrate(judges, projection)
    report = {
        "scale": scale,
        "calibrated_on": [alignment_set.title for alignment_set in judges],
        "named_right": {
            alignment_set.title: {
                "held_out": alignment.named_right(alignment_set, projection, held_out=True),
                "taught": alignment.named_right(alignment_set, projection, held_out=False),
            }
            for alignment_set in alignment_sets
        },
    }
    return Joint(projection, scale), json.dumps(report, indent=1)


def _image_lesson(
    teaching: TeachingSet, wnids: tuple[str, ...], rows: Float[Tensor, "name embedding"]
) -> AlignmentSet:
    """ImageNet's images among the names of all classes."""
    place = {wnid: position for position, wnid in enumerate(wnids)}
    pooled = teaching.pooled
    unknown = [wnid for wnid in pooled.names if wnid not in place]
    if unknown:
        raise DatasetError(
            f"{teaching.title}: labels.json holds {', '.join(unknown[:5])}, expected WordNet ids of "
            "ImageNet's 1,000 classes such as n01440764"
        )
    labels = torch.tensor([place[wnid] for wnid in pooled.names])[pooled.labels]
    return AlignmentSet(teaching.title, pooled.features, labels, wnids, rows, teaching.held_out)


def _class_lesson(classifier: Float[Tensor, "category channel"], images: AlignmentSet) -> AlignmentSet:
    """What the classifier knows of each class, without those whose images are held out."""
    held_out = torch.zeros(len(classifier), dtype=torch.bool)
    held_out[images.labels[images.held_out]] = True
    features = F.normalize(classifier, dim=-1)
    labels = torch.arange(len(classifier))
    return AlignmentSet("ImageNet's classifier", features, labels, images.names, images.rows, held_out)


def _fingerprint(
    text_tower: nn.Module, sets: Sequence[TeachingSet], *, templates: tuple[str, ...], seed: int
) -> str:
    """A short hash of all that the map depends on."""
    digest = hashlib.sha256(hash_weights(text_tower).encode())
    digest.update(repr((alignment.NUMBERS, templates, seed)).encode())
    for teaching in sets:
        digest.update(repr((teaching.title, teaching.pooled.names)).encode())
        for tensor in (teaching.pooled.features, teaching.pooled.labels, teaching.held_out):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(file: Path) -> Joint:
    try:
        state = load_file(file)
        return Joint(Projection(state["weight"], state["bias"]), float(state["scale"]))
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(
            f"{file}: this kept map cannot be read ({error}); delete the file: it is made anew"
        ) from error
