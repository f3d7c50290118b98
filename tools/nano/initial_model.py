"""Build the initial model of a nano training: pretrained towers, a fitted projection, random decoders.

    python tools/nano/initial_model.py tools/nano/initial.yaml --folder runs/nano/initial

The projection maps pooled image features to the text embedding space. It is fitted on the names of ImageNet's
classes and, optionally, on the masks of labeled datasets (alignment.py). The folder then contains:

- model.safetensors, the checkpoint for `start.model` of a training configuration, and its settings.json;
- alignment.json, with the temperature and the accuracy on each dataset;
- the cached projection and pooled features, which are used again as long as their inputs do not change.
"""

import argparse
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn import functional as F

import alignment
from alignment import AlignmentSet, ImageNetClass, Projection
from ovrcoat.checkpoints import native
from ovrcoat.config import (
    InferenceConfig,
    MaskDecoderConfig,
    ModelConfig,
    NanoConfig,
    NanoTextConfig,
    PixelDecoderConfig,
    Settings,
)
from ovrcoat.data.held_out import is_held_out
from ovrcoat.errors import CheckpointError, DatasetError
from ovrcoat.model.encoders.nano import NanoEncoder
from ovrcoat.model.network import SegmentationNetwork, build_network
from ovrcoat.system.atomic_write import write_atomically
from ovrcoat.system.fingerprints import module_fingerprint
from ovrcoat.training.config import DataConfig
from ovrcoat.training.config_file import read_settings
from ovrcoat.training.initialization import InitialModel
from ovrcoat.training.run import MODEL_FILE, SETTINGS_FILE
from ovrcoat.training.sources import expand_variables, open_source, resolve_path
from ovrcoat.training.state import check_settings
from ovrcoat.vocabulary import Vocabulary
from pooled_features import PooledSegments, Pooler
from towers import SOURCES, lite_trunk, sentence_tower

# Share of ImageNet's classes to hold out if no dataset has held-out images for choosing the temperature.
# Whole classes are held out because trained classes give a temperature that is too low: measured, images of
# trained classes give a scale of 28, those of other classes 17, and segments of COCO, VOC and MSRC 15. The
# accuracy of the projection stays the same.
HELD_OUT_CLASSES = 0.1
NO_CLASSES = Vocabulary.of("-")  # a checkpoint needs a training vocabulary, but the decoders are untrained


class InitialModelConfig(Settings):
    """Settings of the initial model; paths may contain `${NAME}` for an environment variable."""

    class_images: str  # folder with images/ and labels.json: images of ImageNet's classes
    masks: tuple[DataConfig, ...] = ()  # labeled datasets that also train the projection
    pixel_decoder: PixelDecoderConfig = PixelDecoderConfig()
    mask_decoder: MaskDecoderConfig = MaskDecoderConfig()
    inference: InferenceConfig = InferenceConfig()
    templates: tuple[str, ...] = ("{}", "a photo of a {}.")


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSet:
    """Pooled features of a dataset.

    Attributes:
        title: name of the dataset.
        pooled: its segments.
        held_out: segments that are not trained on.
    """

    title: str
    pooled: PooledSegments
    held_out: Bool[Tensor, " segment"]


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The fitted projection and the inverse temperature of its cosines."""

    projection: Projection
    scale: float


def main() -> None:
    """Read the arguments and print the path of the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file, such as tools/nano/initial.yaml")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    parser.add_argument("--features", type=Path, help="folder of the pooled features (default: the same)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config = read_settings(arguments.config, InitialModelConfig)
    path = make_initial_model(
        config,
        base=arguments.config.parent,
        folder=arguments.folder,
        features=arguments.features,
        seed=arguments.seed,
    )
    print(path)


def make_initial_model(
    config: InitialModelConfig, *, base: Path, folder: Path, seed: int, features: Path | None = None
) -> Path:
    """Write the initial checkpoint, unless an earlier run has; return its path.

    Args:
        config: the settings.
        base: folder that relative paths refer to.
        folder: to write.
        seed: of the decoders' random weights and of the alignment.
        features: folder of the pooled features, to share them between runs. Default: `folder`.

    Raises:
        TrainingError: the folder contains an initial model with other settings.
        ConfigError: an environment variable in a path is not set.
        MissingExtraError: the packages of the towers are not installed.
        DatasetError: a dataset is missing or damaged, or all its images are held out.
        CheckpointError: a cached file is damaged, or the text tower is not the expected one.
    """
    path, settings_path = folder / MODEL_FILE, folder / SETTINGS_FILE
    settings: dict[str, Any] = config.model_dump(mode="json") | {"seed": seed}
    if path.is_file():
        check_settings(settings_path, json.loads(settings_path.read_text(encoding="utf-8")), settings)
        return path
    model = build_initial_model(config, base=base, folder=folder, seed=seed, features=features)
    text = json.dumps(settings, indent=1)
    write_atomically(settings_path, lambda file: file.write(text.encode()))
    native.save(
        path,
        model.network,
        config=model.config,
        training_vocabulary=NO_CLASSES,
        provenance=model.provenance,
    )
    return path


def build_initial_model(
    config: InitialModelConfig, *, base: Path, folder: Path, seed: int, features: Path | None = None
) -> InitialModel:
    """Build the initial model in memory; see `make_initial_model`."""
    trunk, classifier = lite_trunk()
    text_tower = sentence_tower()
    text_config = NanoTextConfig(vocabulary_size=text_tower.token_embedding.num_embeddings)
    model_config = ModelConfig(
        encoder=NanoConfig(text=text_config),
        pixel_decoder=config.pixel_decoder,
        mask_decoder=config.mask_decoder,
        inference=config.inference,
        templates=config.templates,
    )
    torch.manual_seed(seed)
    network = build_network(model_config).eval()
    encoder = network.encoder
    assert isinstance(encoder, NanoEncoder)
    encoder.visual_trunk.load_state_dict(trunk.state_dict())
    encoder.text_tower.load_state_dict(text_tower.state_dict())
    sets = pool_datasets(Pooler(trunk, config.inference, folder=features or folder), config, base=base)
    aligned = cached_alignment(
        network, classifier, sets, templates=config.templates, folder=folder, seed=seed
    )
    with torch.no_grad():
        encoder.projection.weight.copy_(aligned.projection.weight)
        encoder.projection.bias.copy_(aligned.projection.bias)
        encoder.logit_scale.fill_(math.log(aligned.scale))
    provenance = {"family": "nano", **SOURCES, "aligned_on": ", ".join(item.title for item in sets)}
    return InitialModel(network, model_config, provenance)


def pool_datasets(pooler: Pooler, config: InitialModelConfig, *, base: Path) -> tuple[FeatureSet, ...]:
    """Pool the class images, which come first, and the labeled datasets."""
    sets = []
    for data in config.masks:
        source = open_source(data.model_copy(update={"held_out": 0.0}), base=base)
        pooled = pooler.segments(source)
        held_out = [is_held_out(image, data.held_out) for image in pooled.images]
        sets.append(FeatureSet(source.dataset.name, pooled, torch.tensor(held_out)))
    share = 0.0 if any(item.held_out.any() for item in sets) else HELD_OUT_CLASSES
    folder = Path(resolve_path(expand_variables(config.class_images), base))
    pooled = pooler.class_images(folder)
    held_out = [is_held_out(pooled.names[label], share) for label in pooled.labels.tolist()]
    return FeatureSet(folder.name, pooled, torch.tensor(held_out)), *sets


def cached_alignment(
    network: SegmentationNetwork,
    classifier: Float[Tensor, "category channel"],
    sets: Sequence[FeatureSet],
    *,
    templates: tuple[str, ...],
    folder: Path,
    seed: int,
) -> Alignment:
    """Read the alignment from `folder`, or fit it and write it there; see `fit_alignment`.

    Raises:
        DatasetError: an image has an unknown class, or all images of a dataset are held out.
        CheckpointError: the cached file is damaged.
    """
    encoder = network.encoder
    assert isinstance(encoder, NanoEncoder)
    key = _hash_inputs(encoder.text_tower, sets, templates=templates, seed=seed)
    file = folder / f"alignment-{key}.safetensors"
    if file.is_file():
        return _read_alignment(file)
    aligned, report = fit_alignment(network, classifier, sets, templates=templates, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    content = to_bytes(
        {
            "weight": aligned.projection.weight,
            "bias": aligned.projection.bias,
            "scale": torch.tensor(aligned.scale),
        }
    )
    write_atomically(folder / "alignment.json", lambda opened: opened.write(report.encode()))
    write_atomically(file, lambda opened: opened.write(content))
    return aligned


def fit_alignment(
    network: SegmentationNetwork,
    classifier: Float[Tensor, "category channel"],
    sets: Sequence[FeatureSet],
    *,
    templates: tuple[str, ...],
    seed: int,
) -> tuple[Alignment, str]:
    """Fit the projection and choose the temperature.

    Args:
        network: computes the text embeddings.
        classifier: weights of ImageNet's classifier, one row per class.
        sets: class images first, then labeled datasets.
        templates: prompts of the text embeddings.
        seed: of the random batches.

    Returns:
        The alignment and a report as JSON: the temperature and the accuracy on each dataset.

    Raises:
        DatasetError: an image has an unknown class, or all images of a dataset are held out.
    """
    classes = alignment.imagenet_classes()
    with torch.no_grad():

        def embed(names: Sequence[str]) -> Tensor:
            return network.embed_names(names, templates)

        images = _class_image_set(sets[0], classes, alignment.embed_classes(classes, embed))
        alignment_sets = [images]
        for item in sets[1:]:
            pooled = item.pooled
            alignment_sets.append(
                AlignmentSet(
                    item.title,
                    pooled.features,
                    pooled.labels,
                    pooled.names,
                    embed(pooled.names),
                    item.held_out,
                )
            )
    projection = alignment.fit_projection(_classifier_set(classifier, images), alignment_sets, seed=seed)
    with_held_out = [item for item in alignment_sets[1:] if item.held_out.any()]
    calibration_sets = with_held_out or alignment_sets[:1]
    scale = alignment.calibrate(calibration_sets, projection)
    report = {
        "scale": scale,
        "calibrated_on": [item.title for item in calibration_sets],
        "accuracy": {
            item.title: {
                "held_out": alignment.accuracy(item, projection, held_out=True),
                "trained": alignment.accuracy(item, projection, held_out=False),
            }
            for item in alignment_sets
        },
    }
    return Alignment(projection, scale), json.dumps(report, indent=1)


def _class_image_set(
    item: FeatureSet, classes: Sequence[ImageNetClass], text_embeddings: Float[Tensor, "name embedding"]
) -> AlignmentSet:
    """The class images, labeled among all classes of ImageNet."""
    wnids = tuple(entry.wnid for entry in classes)
    index_of = {wnid: index for index, wnid in enumerate(wnids)}
    pooled = item.pooled
    unknown = [wnid for wnid in pooled.names if wnid not in index_of]
    if unknown:
        raise DatasetError(
            f"{item.title}: labels.json contains {', '.join(unknown[:5])}, expected WordNet ids of "
            "ImageNet's 1,000 classes such as n01440764"
        )
    labels = torch.tensor([index_of[wnid] for wnid in pooled.names])[pooled.labels]
    return AlignmentSet(item.title, pooled.features, labels, wnids, text_embeddings, item.held_out)


def _classifier_set(classifier: Float[Tensor, "category channel"], images: AlignmentSet) -> AlignmentSet:
    """The classifier's weight vectors as features; classes whose images are held out are held out, too."""
    held_out = torch.zeros(len(classifier), dtype=torch.bool)
    held_out[images.labels[images.held_out]] = True
    features = F.normalize(classifier, dim=-1)
    labels = torch.arange(len(classifier))
    return AlignmentSet(
        "ImageNet's classifier", features, labels, images.names, images.text_embeddings, held_out
    )


def _hash_inputs(
    text_tower: nn.Module, sets: Sequence[FeatureSet], *, templates: tuple[str, ...], seed: int
) -> str:
    """A short hash of everything that the alignment depends on."""
    digest = hashlib.sha256(module_fingerprint(text_tower, "text tower").encode())
    digest.update(repr((alignment.CONSTANTS, templates, seed)).encode())
    for item in sets:
        digest.update(repr((item.title, item.pooled.names)).encode())
        for tensor in (item.pooled.features, item.pooled.labels, item.held_out):
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _read_alignment(file: Path) -> Alignment:
    try:
        state = load_file(file)
        return Alignment(Projection(state["weight"], state["bias"]), float(state["scale"]))
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(
            f"{file}: the cached alignment cannot be read ({error}); delete the file to fit it again"
        ) from error


if __name__ == "__main__":
    main()
